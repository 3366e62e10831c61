// SPDX-License-Identifier: MIT
package sample;

import java.math.BigDecimal;

public record Line(String sku, int quantity, BigDecimal price) {
}
