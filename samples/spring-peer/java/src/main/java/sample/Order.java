// SPDX-License-Identifier: MIT
package sample;

import java.time.Instant;
import java.util.List;

public record Order(long id, String customer, List<Line> lines, Instant placedAt) {
}
