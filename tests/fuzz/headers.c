/* SPDX-License-Identifier: MIT */
/* The input is the properties of a content header. They are decoded as those of a delivery, read, copied, and encoded
 * again; decoding that must give the same. */
#include "support/fuzz.h"
#include "support/wire_input.h"

#include <string.h>

enum { FRAME_MAX = 1 << 20 };

/* All received values can be set, and the table that they are set in can be sent. */
static coney_message *copy_headers(coney_message *message)
{
    coney_properties properties = *coney_message_properties(message);
    coney_table *headers = coney_table_new();
    coney_message *copy = NULL;
    bool succeeds = headers != NULL;
    for (size_t i = 0; succeeds && i < coney_table_size(properties.headers); i++)
        succeeds = fuzz_succeeds(coney_table_set(headers, coney_table_name_at(properties.headers, i),
                                                 coney_table_value_at(properties.headers, i)));
    properties.headers = headers;
    if (succeeds && !fuzz_succeeds(cny_message_with(&copy, message, &properties)))
        copy = NULL;
    coney_table_free(headers);
    return copy;
}

static void encode_and_decode(const coney_message *message)
{
    cny_buffer frames = {0};
    bool succeeds = fuzz_succeeds(cny_encode_publish(&frames, 1, FRAME_MAX, "", "k", false, message));
    if (succeeds) {
        size_t method_size = cny_get_u32(frames.data + 3) + CNY_FRAME_OVERHEAD;
        const uint8_t *header = frames.data + method_size + CNY_FRAME_HEADER_BYTES + CNY_CONTENT_HEADER_BYTES - 2;
        size_t size = (size_t)(frames.data + frames.size - 1 - header);
        coney_message *again = fuzz_decode_properties(header, size);
        fuzz_require(!again || (!again->defect && fuzz_same_properties(message, again)));
        coney_message_unref(again);
    }
    cny_buffer_free(&frames);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    coney_message *message = fuzz_decode_properties(data, size);
    coney_message *copy = message ? copy_headers(message) : NULL;
    if (copy) {
        fuzz_read_message(message);
        fuzz_table_as_json(message->properties.headers);
        bool has_twins = coney_table_size(copy->properties.headers) < coney_table_size(message->properties.headers);
        fuzz_require(has_twins || fuzz_same_properties(message, copy));
        encode_and_decode(copy);
    }
    coney_message_unref(copy);
    coney_message_unref(message);
}
