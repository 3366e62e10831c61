// SPDX-License-Identifier: MIT
// Values as Jackson writes and reads them: times, numbers, and what JSON has no type for.
// tests/interop/c/value_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.stream.Stream;

final class ValueCases {
    enum Colour {
        RED, DARK_BLUE
    }

    record Times(Instant instant, Date date, OffsetDateTime offset, LocalDateTime local, LocalDate day, LocalTime time,
            Duration duration) {
    }

    /** What both sides can tell in numbers, too. */
    record Moments(Instant instant, Date date) {
    }

    record Numbers(BigDecimal amount, BigDecimal exact, long largest, long smallest, long odd, int number, short little,
            byte tiny, double real, float single) {
    }

    record Big(BigInteger big, BigDecimal precise) {
    }

    record Values(UUID uuid, Colour colour, byte[] bytes, Optional<String> present, Optional<String> absent,
            String none, char letter, String text, Map<String, List<Integer>> nested) {
    }

    private static final Instant INSTANT = Instant.parse("2023-11-14T22:13:20.123456789Z");
    private static final Times TIMES = new Times(INSTANT, new Date(INSTANT.toEpochMilli()),
            OffsetDateTime.parse("2023-11-14T23:13:20.5+01:00"), LocalDateTime.parse("2023-11-14T22:13:20"),
            LocalDate.parse("2023-11-14"), LocalTime.parse("22:13:20"), Duration.ofMillis(90_500));
    private static final Numbers NUMBERS = new Numbers(new BigDecimal("1234.50"), new BigDecimal("1E+2"),
            Long.MAX_VALUE, Long.MIN_VALUE, (1L << 53) + 1, Integer.MIN_VALUE, Short.MAX_VALUE, Byte.MIN_VALUE,
            1e-300, 0.5f);
    private static final Big BIG = new Big(BigInteger.ONE.shiftLeft(70),
            new BigDecimal("12345678901234567890.123456789"));
    private static final Values VALUES = new Values(UUID.fromString("123e4567-e89b-12d3-a456-426614174000"),
            Colour.DARK_BLUE, new byte[] {0, 1, -1, 127, -128}, Optional.of("here"), Optional.empty(), null, 'x',
            "tab\t nul\0 \u00e9 \ud83d\ude80 \u2028 </script>", Map.of("numbers", List.of(1, 2, 3)));

    private ValueCases() {
    }

    static final List<Case> ALL = Stream.of(new Case("times", ValueCases::sendTimes, ValueCases::checkTimes),
            new Case("numbers",
                    (peer, queue) -> peer.template(Json.converter()).convertAndSend(queue, NUMBERS),
                    (peer, queue) -> equal(NUMBERS, peer.receive(queue, Json.converter()), "the numbers")),
            new Case("big-numbers", (peer, queue) -> peer.template(Json.converter()).convertAndSend(queue, BIG),
                    (peer, queue) -> equal(BIG, peer.receive(queue, Json.converter()), "the numbers")),
            new Case("values",
                    (peer, queue) -> peer.template(Json.withTimes(false)).convertAndSend(queue, VALUES),
                    ValueCases::checkValues)).flatMap(Case::twice).toList();

    private static void sendTimes(Peer peer, String queue) {
        peer.template(Json.withTimes(false)).convertAndSend(queue, TIMES);
        peer.template(Json.withTimes(true)).convertAndSend(queue, TIMES);
    }

    private static void checkTimes(Peer peer, String queue) {
        var times = (Times) peer.receive(queue, Json.withTimes(false));
        equal(TIMES.instant(), times.instant(), "instant");
        equal(TIMES.date(), times.date(), "date");
        equal(TIMES.offset().toInstant(), times.offset().toInstant(), "offset"); // Jackson moves it to UTC
        equal(TIMES.local(), times.local(), "local");
        equal(TIMES.day(), times.day(), "day");
        equal(TIMES.time(), times.time(), "time");
        equal(TIMES.duration(), times.duration(), "duration");
        var moments = (Moments) peer.receive(queue, Json.withTimes(false));
        equal(INSTANT.getEpochSecond(), moments.instant().getEpochSecond(), "instant as a number of seconds");
        equal(INSTANT.toEpochMilli(), moments.date().getTime(), "date as a number of milliseconds");
    }

    private static void checkValues(Peer peer, String queue) {
        var values = (Values) peer.receive(queue, Json.withTimes(false));
        equal(VALUES.uuid(), values.uuid(), "uuid");
        equal(VALUES.colour(), values.colour(), "colour");
        equal(VALUES.bytes(), values.bytes(), "bytes");
        equal(VALUES.present(), values.present(), "present");
        holds(values.absent() == null || values.absent().isEmpty(), "absent is there");
        equal(null, values.none(), "none");
        equal(VALUES.letter(), values.letter(), "letter");
        equal(VALUES.text(), values.text(), "text");
        equal(VALUES.nested(), values.nested(), "nested");
    }
}
