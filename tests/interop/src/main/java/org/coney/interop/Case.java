// SPDX-License-Identifier: MIT
// One case of the suite, by the name that it has in C, too.
package org.coney.interop;

import java.util.stream.Stream;

/**
 * @param sends sends to the queue what the C side reads; null: nothing
 * @param checks reads from the queue what the C side sends; null: nothing
 */
record Case(String name, Action sends, Action checks) {
    interface Action {
        void run(Peer peer, String queue) throws Exception;
    }

    /** The C side has the case twice: with json_t, and with structs that a table describes. */
    Stream<Case> twice() {
        return Stream.of(new Case("json-" + name, sends, checks), new Case("typed-" + name, sends, checks));
    }

    /** Fails the case unless both are equal. */
    static void equal(Object expected, Object got, String what) {
        if (!java.util.Objects.deepEquals(expected, got)) {
            throw new AssertionError(what + ": expected " + show(expected) + ", got " + show(got));
        }
    }

    static void holds(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    private static String show(Object object) {
        return object == null ? "null"
                : object.getClass().getSimpleName() + " "
                        + (object instanceof byte[] bytes ? java.util.Arrays.toString(bytes) : object);
    }
}
