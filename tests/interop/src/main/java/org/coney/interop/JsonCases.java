// SPDX-License-Identifier: MIT
// Objects, lists and maps as JSON: type headers with class names and with ids, without type headers, and who chooses
// the type. tests/interop/c/json_cases.c is the other side.
package org.coney.interop;

import static org.coney.interop.Case.equal;
import static org.coney.interop.Case.holds;

import java.lang.reflect.Type;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

import com.rabbitmq.client.AMQP.BasicProperties;
import org.coney.interop.Samples.Cancellation;
import org.coney.interop.Samples.Line;
import org.coney.interop.Samples.Order;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.support.converter.MessageConverter;
import org.springframework.core.ParameterizedTypeReference;
import org.springframework.util.MimeType;

final class JsonCases {
    private static final Map<String, Line> BY_SKU = byName(Samples.LINES);
    private static final Map<String, Object> PLAIN = Map.of("id", "A-18", "reason", "too late");

    private static final Type LINES_TYPE = new ParameterizedTypeReference<List<Line>>() {
    }.getType();
    private static final Type BY_SKU_TYPE = new ParameterizedTypeReference<Map<String, Line>>() {
    }.getType();

    private JsonCases() {
    }

    private static final Stream<Case> TWICE = Stream.of(
            new Case("object", (peer, queue) -> peer.template(Json.converter()).convertAndSend(queue, Samples.ORDER),
                    (peer, queue) -> equal(Samples.ORDER, peer.receive(queue, Json.converter()), "the order")),
            new Case("list",
                    (peer, queue) -> sendBothWays(peer, queue, Json.converter(), new ArrayList<>(Samples.LINES),
                            LINES_TYPE),
                    (peer, queue) -> equal(Samples.LINES, peer.receive(queue, Json.converter()), "the lines")),
            new Case("map", (peer, queue) -> sendBothWays(peer, queue, Json.converter(), BY_SKU, BY_SKU_TYPE),
                    (peer, queue) -> equal(BY_SKU, peer.receive(queue, Json.converter()), "the map")),
            new Case("array",
                    (peer, queue) -> peer.template(Json.converter()).convertAndSend(queue,
                            Samples.LINES.toArray(new Line[0])),
                    JsonCases::checkArray),
            new Case("id-mapping",
                    (peer, queue) -> peer.template(Json.withIds(Samples.IDS)).convertAndSend(queue, Samples.ORDER),
                    (peer, queue) -> equal(Samples.ORDER, peer.receive(queue, Json.withIds(Samples.IDS)), "the order")),
            new Case("id-mapping-list",
                    (peer, queue) -> sendBothWays(peer, queue, Json.withIds(Samples.IDS),
                            new ArrayList<>(Samples.LINES), LINES_TYPE),
                    (peer, queue) -> equal(Samples.LINES, peer.receive(queue, Json.withIds(Samples.IDS)),
                            "the lines")));

    private static final Stream<Case> ONCE = Stream.of(
            new Case("json-no-type", JsonCases::sendWithoutType,
                    (peer, queue) -> equal(PLAIN, peer.receive(queue, Json.converter()), "the map")),
            new Case("json-old-map-type",
                    (peer, queue) -> peer.template(Json.withOldNames()).convertAndSend(queue,
                            new LinkedHashMap<>(PLAIN)),
                    (peer, queue) -> equal(PLAIN, peer.receive(queue, Json.withOldNames()), "the map")),
            new Case("json-scalars", JsonCases::sendScalars, JsonCases::checkScalars),
            new Case("json-vendor-type", JsonCases::sendVendorType, JsonCases::checkVendorType),
            new Case("json-charset-parameter", JsonCases::sendLatin1, JsonCases::checkLatin1),
            new Case("json-utf16", JsonCases::sendUtf16,
                    (peer, queue) -> equal(Samples.CANCELLATION, peer.receive(queue, Json.converter()), "the object")),
            new Case("json-content-types", JsonCases::sendContentTypes, JsonCases::checkContentTypes),
            new Case("json-inferred", null, JsonCases::checkInferred),
            new Case("json-type-id-first", null,
                    (peer, queue) -> equal(Samples.CANCELLATION, peer.told("type-id-first"), "the parameter")),
            new Case("json-handler-by-class", JsonCases::sendToHandlers, JsonCases::checkHandlers),
            new Case("typed-inferred", JsonCases::sendWithOtherTypes, null),
            new Case("typed-type-id-first", JsonCases::sendOrderAndOthers, null),
            new Case("typed-handler-by-class", JsonCases::sendToHandlers, null),
            new Case("typed-receive", JsonCases::sendOneOfEach, null));

    static final List<Case> ALL = Stream.concat(TWICE.flatMap(Case::twice), ONCE).toList();

    private static Map<String, Line> byName(List<Line> lines) {
        var map = new LinkedHashMap<String, Line>();
        lines.forEach(line -> map.put(line.sku(), line));
        return map;
    }

    /** As convertAndSend does, which knows nothing of the elements, and as a listener method with that type does. */
    private static void sendBothWays(Peer peer, String queue, MessageConverter converter, Object object, Type type) {
        peer.template(converter).convertAndSend(queue, object);
        peer.template().send(queue, converter.toMessage(object, new MessageProperties(), type));
    }

    /** An array or a list, as the type header says. */
    private static void checkArray(Peer peer, String queue) {
        var got = peer.receive(queue, Json.converter());
        equal(Samples.LINES, got instanceof Line[] array ? List.of(array) : got, "the lines");
    }

    private static void sendWithoutType(Peer peer, String queue) {
        peer.template(Json.converter()).convertAndSend(queue, (Object) Samples.CANCELLATION, message -> {
            message.getMessageProperties().getHeaders().clear();
            return message;
        });
    }

    private static void sendScalars(Peer peer, String queue) {
        var template = peer.template(Json.converter());
        for (Object one : List.of(Samples.TEXT, 42, true, 2.5, List.of(), Map.of())) {
            template.convertAndSend(queue, one);
        }
    }

    private static void checkScalars(Peer peer, String queue) {
        for (Object one : List.of(Samples.TEXT, 42, true, 2.5)) {
            equal(one, peer.receive(queue, Json.converter()), "the scalar");
        }
    }

    private static void sendVendorType(Peer peer, String queue) {
        var converter = Json.converter();
        converter.setSupportedContentType(MimeType.valueOf("application/vnd.coney.order+json"));
        peer.template(converter).convertAndSend(queue, Samples.ORDER);
    }

    private static void checkVendorType(Peer peer, String queue) {
        var message = peer.receive(queue);
        equal("application/vnd.coney.order+json", message.getMessageProperties().getContentType(), "content type");
        equal(Samples.ORDER, Json.converter().fromMessage(message), "the order");
    }

    private static void sendLatin1(Peer peer, String queue) {
        var converter = Json.converter();
        converter.setSupportedContentType(MimeType.valueOf("application/json;charset=ISO-8859-1"));
        peer.template(converter).convertAndSend(queue, new Cancellation("Zürich", "à bientôt"));
    }

    private static void checkLatin1(Peer peer, String queue) {
        var message = peer.receive(queue);
        var text = new String(message.getBody(), StandardCharsets.ISO_8859_1);
        holds(text.contains("Zürich"), "the body is not ISO-8859-1: " + text);
        equal(new Cancellation("Zürich", "à bientôt"), Json.converter().fromMessage(message), "the object");
    }

    private static void sendUtf16(Peer peer, String queue) {
        var converter = Json.converter();
        converter.setDefaultCharset("UTF-16BE");
        peer.template(converter).convertAndSend(queue, Samples.CANCELLATION);
    }

    /** By the plain client, because Spring always writes a content type. */
    private static void sendContentTypes(Peer peer, String queue) {
        var body = "{\"id\":\"A-18\",\"reason\":\"too late\"}".getBytes(StandardCharsets.UTF_8);
        peer.template().execute(channel -> {
            for (var type : List.of("", "application/octet-stream", "text/x-json", "application/json; charset=utf-8",
                    "application/problem+json", "Application/JSON")) {
                var properties = new BasicProperties.Builder().contentType(type.isEmpty() ? null : type).build();
                channel.basicPublish("", queue, properties, body);
            }
            return null;
        });
    }

    private static void checkContentTypes(Peer peer, String queue) {
        for (var type : List.of("application/json", "application/octet-stream", "application/problem+json")) {
            var message = peer.receive(queue);
            equal(type, message.getMessageProperties().getContentType(), "content type");
            equal(PLAIN, Json.converter().fromMessage(message), type);
        }
    }

    private static void checkInferred(Peer peer, String queue) throws InterruptedException {
        equal(Samples.CANCELLATION, peer.told("inferred"), "without a type header");
        equal(Samples.CANCELLATION, peer.told("inferred"), "with the type header of another class");
    }

    private static void sendWithOtherTypes(Peer peer, String queue) {
        for (var type : List.of("no.such.Class", "java.lang.String")) {
            peer.template(Json.converter()).convertAndSend(queue, (Object) Samples.ORDER, message -> {
                message.getMessageProperties().setHeader("__TypeId__", type);
                return message;
            });
        }
    }

    private static void sendOrderAndOthers(Peer peer, String queue) {
        peer.template(Json.converter()).convertAndSend(queue, Samples.ORDER);
        peer.template(Json.withIds(Samples.IDS)).convertAndSend(queue, Samples.CANCELLATION);
        peer.template(Json.converter()).convertAndSend(queue, (Object) Samples.ORDER, message -> {
            message.getMessageProperties().getHeaders().clear();
            return message;
        });
    }

    private static void sendOneOfEach(Peer peer, String queue) {
        peer.template(Json.converter()).convertAndSend(queue, Samples.ORDER);
        peer.template().convertAndSend(queue, "text");
        peer.template().convertAndSend(queue, new byte[] {0, 1, 2});
        peer.template(Json.converter()).convertAndSend(queue, new LinkedHashMap<>(PLAIN));
    }

    private static void sendToHandlers(Peer peer, String queue) {
        var template = peer.template(Json.withIds(Samples.IDS));
        template.convertAndSend(queue, Samples.ORDER);
        template.convertAndSend(queue, Samples.CANCELLATION);
        template.convertAndSend(queue, "neither");
    }

    private static void checkHandlers(Peer peer, String queue) throws InterruptedException {
        equal("order A-17", peer.told("handlers"), "the handler of orders");
        equal("cancellation A-18", peer.told("handlers"), "the handler of cancellations");
        equal("other {sku=bolt}", peer.told("handlers"), "the default handler");
    }
}
