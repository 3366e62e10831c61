/* SPDX-License-Identifier: MIT */
/* What Coney reads of the headers of a message: no more levels and entries than CONEY_MAX_NESTING and CNY_MAX_ENTRIES,
 * and no x-death that only a publisher can have written. The rest is taken out of the encoded properties before
 * rabbitmq-c sees them, and everything else stays. So each version of rabbitmq-c reads the same of a message: up to
 * 0.13 it decodes nested tables by recursion without a limit, and from 0.14 on it refuses all properties of a message
 * over a limit of its own. I/O thread only. */
#include "wire/rabbitmq_c.h"

#include <string.h>

typedef struct pruning {
    uint8_t *at;                  /* what is looked at next, */
    uint8_t *to;                  /* and where it goes if it is kept */
    size_t room, room_for_deaths; /* for entries */
    size_t *used;                 /* the one of the two that is used at present */
    cny_pruned pruned;
} pruning;

static bool prune_nest(pruning *it, int depth, bool is_table);

/* False if that is beyond the end. */
static bool keep(pruning *it, const uint8_t *end, size_t size)
{
    if (size > (size_t)(end - it->at))
        return false;
    if (it->to != it->at)
        memmove(it->to, it->at, size);
    it->at += size;
    it->to += size;
    return true;
}

static bool keep_short_text(pruning *it, const uint8_t *end)
{
    return it->at < end && keep(it, end, (size_t)*it->at + 1);
}

static bool is_nest(uint8_t kind)
{
    return kind == AMQP_FIELD_KIND_TABLE || kind == AMQP_FIELD_KIND_ARRAY;
}

/* The bytes of a value whose type is that; SIZE_MAX if there is no such type or the value is cut off. */
static size_t size_of_value(const uint8_t *at, const uint8_t *end, uint8_t kind)
{
    size_t left = (size_t)(end - at), size = SIZE_MAX;
    switch (kind) {
    case AMQP_FIELD_KIND_VOID: size = 0; break;
    case AMQP_FIELD_KIND_BOOLEAN:
    case AMQP_FIELD_KIND_I8:
    case AMQP_FIELD_KIND_U8: size = 1; break;
    case AMQP_FIELD_KIND_I16:
    case AMQP_FIELD_KIND_U16: size = 2; break;
    case AMQP_FIELD_KIND_I32:
    case AMQP_FIELD_KIND_U32:
    case AMQP_FIELD_KIND_F32: size = 4; break;
    case AMQP_FIELD_KIND_DECIMAL: size = 5; break;
    case AMQP_FIELD_KIND_I64:
    case AMQP_FIELD_KIND_U64:
    case AMQP_FIELD_KIND_F64:
    case AMQP_FIELD_KIND_TIMESTAMP: size = 8; break;
    case AMQP_FIELD_KIND_UTF8:
    case AMQP_FIELD_KIND_BYTES:
    case AMQP_FIELD_KIND_ARRAY:
    case AMQP_FIELD_KIND_TABLE:
        if (left >= 4 && cny_get_u32(at) <= left - 4)
            size = 4 + (size_t)cny_get_u32(at);
        break;
    default: break;
    }
    return size <= left ? size : SIZE_MAX;
}

static const char *defect_of(uint8_t kind, int depth, size_t room)
{
    _Static_assert(CNY_MAX_ENTRIES == 10000, "the sentence below says so");
    if (is_nest(kind) && depth == CONEY_MAX_NESTING)
        return "its headers are nested too deep";
    return room == 0 ? "its headers have more than 10000 entries" : NULL;
}

static bool is_death(const uint8_t *name)
{
    return *name == sizeof CONEY_HEADER_DEATH - 1 && memcmp(name + 1, CONEY_HEADER_DEATH, *name) == 0;
}

/* A broker's x-death is an array that begins with a table. */
static bool may_be_brokers(const uint8_t *at, size_t size, uint8_t kind)
{
    return kind == AMQP_FIELD_KIND_ARRAY && size > 4 && at[4] == AMQP_FIELD_KIND_TABLE;
}

static bool leave_out(pruning *it, uint8_t *start, size_t size)
{
    it->to = start;
    it->at += size;
    return true;
}

/* False if there is no entry that can be decoded. x-death tells whether the message has come round before, so no other
 * header may take the room of x-death. */
static bool prune_entry(pruning *it, const uint8_t *end, int depth, bool is_table)
{
    uint8_t *start = it->to;
    if (is_table && !keep_short_text(it, end))
        return false;
    bool is_header = depth == 1, is_death_header = is_header && is_death(start);
    if (is_header)
        it->used = is_death_header ? &it->room_for_deaths : &it->room;
    uint8_t kind = it->at < end ? *it->at : 0;
    if (!keep(it, end, 1))
        return false;
    size_t size = size_of_value(it->at, end, kind);
    if (size == SIZE_MAX)
        return false;
    const char *defect = defect_of(kind, depth, *it->used);
    bool is_forged = is_death_header && !may_be_brokers(it->at, size, kind);
    it->pruned.has_forged_death |= is_forged;
    if (defect && !it->pruned.defect)
        it->pruned.defect = defect;
    if (defect || is_forged)
        return leave_out(it, start, size);
    --*it->used;
    return is_nest(kind) ? prune_nest(it, depth + 1, kind == AMQP_FIELD_KIND_TABLE) : keep(it, end, size);
}

/* A table or an array that is here whole. */
static bool prune_nest(pruning *it, int depth, bool is_table)
{
    uint8_t *size_at = it->to;
    const uint8_t *end = it->at + 4 + cny_get_u32(it->at);
    bool done = keep(it, end, 4);
    while (done && it->at < end)
        done = prune_entry(it, end, depth, is_table);
    cny_put_u32(size_at, (uint32_t)(it->to - size_at - 4));
    return done;
}

static bool prune_table(pruning *it, const uint8_t *end)
{
    return size_of_value(it->at, end, AMQP_FIELD_KIND_TABLE) != SIZE_MAX && prune_nest(it, 1, true);
}

/* What stands before the headers. */
static bool keep_first_properties(pruning *it, const uint8_t *end, bool *has_headers)
{
    const uint8_t *flags = it->at, *last;
    do {
        last = it->at;
        if (!keep(it, end, 2))
            return false;
    } while (cny_get_u16(last) & 1U); /* which says that more flags follow */
    unsigned first = cny_get_u16(flags);
    *has_headers = first & AMQP_BASIC_HEADERS_FLAG;
    return (!(first & AMQP_BASIC_CONTENT_TYPE_FLAG) || keep_short_text(it, end)) &&
           (!(first & AMQP_BASIC_CONTENT_ENCODING_FLAG) || keep_short_text(it, end));
}

bool cny_prune_headers(uint8_t *properties, size_t *size, cny_pruned *pruned)
{
    pruning it = {.room = CNY_MAX_ENTRIES, .room_for_deaths = CNY_MAX_ENTRIES};
    const uint8_t *end = properties + *size;
    bool has_headers;
    it.at = it.to = properties;
    if (!keep_first_properties(&it, end, &has_headers) || (has_headers && !prune_table(&it, end)))
        return false;
    keep(&it, end, (size_t)(end - it.at));
    *size = (size_t)(it.to - properties);
    *pruned = it.pruned;
    return true;
}
