/* SPDX-License-Identifier: MIT */
#include "documents.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 160

static const char parcel_text[] =
    "{\"id\":4711,\"customer\":\"Ada Lovelace\",\"street\":\"12 St James's Square\",\"city\":\"London\",\"items\":3,"
    "\"weight\":1.25,\"insured\":true,\"charge\":\"12.50\",\"posted\":\"2026-03-01T12:30:15.250Z\","
    "\"note\":\"Please ring twice, and leave it with the neighbours at \\\"The Elms\\\" if nobody answers the door.\"}";

static const char order_text[] =
    "{\"id\":\"2026-004711\",\"status\":\"PAID\","
    "\"customer\":{\"id\":17,\"name\":\"Ada Lovelace\",\"email\":\"ada@example.org\"},"
    "\"placed\":\"2026-03-01T12:30:15.250Z\",\"due\":\"2026-03-08T18:00:00.500Z\",\"total\":\"14850.99\",\"lines\":[";

char *bench_document(int lines)
{
    if (lines == 0)
        return strdup(parcel_text);
    size_t room = sizeof order_text + LINE_BYTES * (size_t)lines;
    char *text = malloc(room), *at = text;
    if (!text)
        abort();
    at += snprintf(at, room, "%s", order_text);
    for (int i = 0; i < lines; i++)
        at += snprintf(at, LINE_BYTES,
                       "{\"sku\":\"SKU-%06d\",\"title\":\"Engine of differences, part %d\",\"quantity\":%d,"
                       "\"price\":\"%d.%02d\",\"gift\":%s},",
                       i * 37, i, i % 9 + 1, i * 3, i, i % 4 ? "false" : "true");
    memcpy(at - 1, "]}", sizeof "]}"); /* in the place of the last comma */
    return text;
}
