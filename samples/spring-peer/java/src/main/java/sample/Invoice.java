// SPDX-License-Identifier: MIT
package sample;

import java.math.BigDecimal;
import java.time.Instant;

public record Invoice(long orderId, String customer, int items, BigDecimal total, Instant placedAt, Instant issuedAt) {
}
