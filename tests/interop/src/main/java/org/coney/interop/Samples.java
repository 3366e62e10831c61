// SPDX-License-Identifier: MIT
// The objects that both sides know. tests/interop/c/samples.h has the same in C.
package org.coney.interop;

import java.math.BigDecimal;
import java.util.List;
import java.util.Map;

final class Samples {
    record Customer(String name, boolean vip) {
    }

    record Line(String sku, int quantity, BigDecimal price) {
    }

    record Order(String id, Customer customer, List<Line> lines, BigDecimal total, String note) {
    }

    record Cancellation(String id, String reason) {
    }

    static final String TEXT = "Zürich, 東京 🚀 \"quoted\"";
    static final List<Line> LINES = List.of(new Line("bolt", 3, new BigDecimal("0.25")),
            new Line("wheel", 2, new BigDecimal("19.5")));
    static final Order ORDER = new Order("A-17", new Customer(TEXT, true), LINES, new BigDecimal("39.75"), null);
    static final Cancellation CANCELLATION = new Cancellation("A-18", "too late");
    static final Map<String, Class<?>> IDS = Map.of("order", Order.class, "cancellation", Cancellation.class, "line",
            Line.class);

    private Samples() {
    }
}
