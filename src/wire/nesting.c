/* SPDX-License-Identifier: MIT */
/* How deep the headers of a message are nested, found out without decoding them. Up to 0.13 rabbitmq-c decodes nested
 * tables by recursion without a limit. The I/O thread's stack is large enough for what a frame of the agreed size
 * holds, but not for what a larger content header can hold. */
#include "wire/rabbitmq_c.h"

/* What is left of the properties. */
typedef struct rest {
    const uint8_t *at, *end;
} rest;

/* A table or array that is being looked at. */
typedef struct level {
    const uint8_t *end;
    bool is_table;
} level;

static bool skip(rest *left, size_t size)
{
    bool is_there = size <= (size_t)(left->end - left->at);
    left->at = is_there ? left->at + size : left->end;
    return is_there;
}

static bool skip_short_text(rest *left)
{
    return left->at < left->end && skip(left, (size_t)*left->at + 1);
}

static bool read_size(rest *left, size_t *size)
{
    const uint8_t *at = left->at;
    if (!skip(left, 4))
        return false;
    *size = cny_get_u32(at);
    return true;
}

/* A value that holds no others. False if there is no such type or the value is cut off. */
static bool skip_plain(rest *left, uint8_t kind)
{
    size_t size;
    switch (kind) {
    case AMQP_FIELD_KIND_VOID: return true;
    case AMQP_FIELD_KIND_BOOLEAN:
    case AMQP_FIELD_KIND_I8:
    case AMQP_FIELD_KIND_U8: return skip(left, 1);
    case AMQP_FIELD_KIND_I16:
    case AMQP_FIELD_KIND_U16: return skip(left, 2);
    case AMQP_FIELD_KIND_I32:
    case AMQP_FIELD_KIND_U32:
    case AMQP_FIELD_KIND_F32: return skip(left, 4);
    case AMQP_FIELD_KIND_DECIMAL: return skip(left, 5);
    case AMQP_FIELD_KIND_I64:
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_F64:
    case AMQP_FIELD_KIND_TIMESTAMP: return skip(left, 8);
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES: return read_size(left, &size) && skip(left, size);
    default: return false;
    }
}

static bool enter(rest *left, level *opened, bool is_table)
{
    size_t size;
    if (!read_size(left, &size) || size > (size_t)(left->end - left->at))
        return false;
    *opened = (level){.end = left->at + size, .is_table = is_table};
    return true;
}

static bool is_table_shallow(rest *left)
{
    level levels[CONEY_MAX_NESTING];
    size_t depth = 0;
    if (!enter(left, &levels[depth++], true))
        return false;
    while (depth > 0) {
        const level *inner = &levels[depth - 1];
        if (left->at >= inner->end) {
            depth--;
            continue;
        }
        if ((inner->is_table && !skip_short_text(left)) || left->at == left->end)
            return false;
        uint8_t kind = *left->at++;
        bool is_nest = kind == AMQP_FIELD_KIND_TABLE || kind == AMQP_FIELD_KIND_ARRAY;
        if (is_nest && (depth == CONEY_MAX_NESTING || !enter(left, &levels[depth], kind == AMQP_FIELD_KIND_TABLE)))
            return false;
        if (!is_nest && !skip_plain(left, kind))
            return false;
        depth += is_nest;
    }
    return true;
}

bool cny_is_shallow(const uint8_t *properties, size_t size)
{
    rest left = {.at = properties, .end = properties + size};
    unsigned flags = 0, more = 1;
    for (int i = 0; more; i++) { /* the last bit says that more flags follow */
        const uint8_t *at = left.at;
        if (!skip(&left, 2))
            return false;
        more = cny_get_u16(at) & 1U;
        flags = i == 0 ? cny_get_u16(at) : flags;
    }
    if ((flags & AMQP_BASIC_CONTENT_TYPE_FLAG) && !skip_short_text(&left))
        return false;
    if ((flags & AMQP_BASIC_CONTENT_ENCODING_FLAG) && !skip_short_text(&left))
        return false;
    return !(flags & AMQP_BASIC_HEADERS_FLAG) || is_table_shallow(&left);
}
