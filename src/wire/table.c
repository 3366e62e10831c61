/* SPDX-License-Identifier: MIT */
/* Field tables between Coney's types and rabbitmq-c's. Pure; any thread. */
#include "wire/rabbitmq_c.h"

#include <string.h>

/* AMQP's letter for each type. */
static const uint8_t kinds[] = {
    [CONEY_VOID] = AMQP_FIELD_KIND_VOID,
    [CONEY_BOOL] = AMQP_FIELD_KIND_BOOLEAN,
    [CONEY_INT8] = AMQP_FIELD_KIND_I8,
    [CONEY_UINT8] = AMQP_FIELD_KIND_U8,
    [CONEY_INT16] = AMQP_FIELD_KIND_I16,
    [CONEY_UINT16] = AMQP_FIELD_KIND_U16,
    [CONEY_INT32] = AMQP_FIELD_KIND_I32,
    [CONEY_UINT32] = AMQP_FIELD_KIND_U32,
    [CONEY_INT64] = AMQP_FIELD_KIND_I64,
    [CONEY_FLOAT] = AMQP_FIELD_KIND_F32,
    [CONEY_DOUBLE] = AMQP_FIELD_KIND_F64,
    [CONEY_DECIMAL] = AMQP_FIELD_KIND_DECIMAL,
    [CONEY_STRING] = AMQP_FIELD_KIND_UTF8,
    [CONEY_BYTES] = AMQP_FIELD_KIND_BYTES,
    [CONEY_TIMESTAMP] = AMQP_FIELD_KIND_TIMESTAMP,
    [CONEY_ARRAY] = AMQP_FIELD_KIND_ARRAY,
    [CONEY_TABLE] = AMQP_FIELD_KIND_TABLE,
};

/* ---- to rabbitmq-c: views of our strings, entries in the arena ---- */

static bool array_to_amqp(cny_arena *arena, amqp_array_t *to, const coney_array *from);

static amqp_bytes_t view(const char *data, size_t size)
{
    return (amqp_bytes_t){.len = size, .bytes = (void *)(uintptr_t)data};
}

static bool value_to_amqp(cny_arena *arena, amqp_field_value_t *to, const coney_value *from)
{
    int64_t integer = from->as.integer;
    memset(to, 0, sizeof *to);
    to->kind = kinds[from->type];
    switch (from->type) {
    case CONEY_VOID: break;
    case CONEY_BOOL: to->value.boolean = from->as.boolean; break;
    case CONEY_INT8: to->value.i8 = (int8_t)integer; break;
    case CONEY_UINT8: /* not as B, over which the Java client 5.13 (Spring 2.4) ends its connection */
        to->kind = AMQP_FIELD_KIND_I16;
        to->value.i16 = (int16_t)integer;
        break;
    case CONEY_INT16: to->value.i16 = (int16_t)integer; break;
    case CONEY_UINT16: to->value.u16 = (uint16_t)integer; break;
    case CONEY_INT32: to->value.i32 = (int32_t)integer; break;
    case CONEY_UINT32: to->value.u32 = (uint32_t)integer; break;
    case CONEY_INT64: to->value.i64 = integer; break;
    case CONEY_TIMESTAMP: to->value.u64 = (uint64_t)integer; break;
    case CONEY_FLOAT: to->value.f32 = (float)from->as.real; break;
    case CONEY_DOUBLE: to->value.f64 = from->as.real; break;
    case CONEY_DECIMAL:
        to->value.decimal.decimals = from->as.decimal.scale;
        to->value.decimal.value = (uint32_t)from->as.decimal.mantissa;
        break;
    case CONEY_STRING:
    case CONEY_BYTES: to->value.bytes = view(from->as.bytes.data, from->as.bytes.size); break;
    case CONEY_ARRAY: return array_to_amqp(arena, &to->value.array, from->as.array);
    case CONEY_TABLE: return cny_table_to_amqp(arena, &to->value.table, from->as.table);
    }
    return true;
}

static bool array_to_amqp(cny_arena *arena, amqp_array_t *to, const coney_array *from)
{
    size_t count = coney_array_size(from);
    *to = (amqp_array_t){.num_entries = (int)count, .entries = cny_arena_alloc(arena, count * sizeof *to->entries)};
    bool done = to->entries;
    for (size_t i = 0; done && i < count; i++)
        done = value_to_amqp(arena, &to->entries[i], coney_array_at(from, i));
    return done;
}

bool cny_table_to_amqp(cny_arena *arena, amqp_table_t *to, const coney_table *from)
{
    size_t count = coney_table_size(from);
    *to = (amqp_table_t){.num_entries = (int)count, .entries = cny_arena_alloc(arena, count * sizeof *to->entries)};
    bool done = to->entries;
    for (size_t i = 0; done && i < count; i++) {
        const char *name = coney_table_name_at(from, i);
        to->entries[i].key = view(name, strlen(name));
        done = value_to_amqp(arena, &to->entries[i].value, coney_table_value_at(from, i));
    }
    return done;
}

/* ---- from rabbitmq-c: copies of all ---- */

static bool array_from(cny_arena *arena, const coney_array **to, const amqp_array_t *from);

/* Unsigned 64-bit integers are no type of RabbitMQ's, and are read as signed ones; what else
 * rabbitmq-c may add is void to us. */
static coney_value_type type_of(uint8_t kind)
{
    if (kind == AMQP_FIELD_KIND_U64)
        return CONEY_INT64;
    for (int type = CONEY_VOID; type <= CONEY_TABLE; type++) {
        if (kinds[type] == kind)
            return (coney_value_type)type;
    }
    return CONEY_VOID;
}

static bool bytes_from(cny_arena *arena, coney_value *to, amqp_bytes_t from)
{
    to->as.bytes.size = from.len;
    to->as.bytes.data = cny_arena_copy(arena, from.bytes, from.len);
    return to->as.bytes.data;
}

static bool value_from(cny_arena *arena, coney_value *to, const amqp_field_value_t *from)
{
    *to = (coney_value){.type = type_of(from->kind)};
    switch (to->type) {
    case CONEY_VOID: break;
    case CONEY_BOOL: to->as.boolean = from->value.boolean != 0; break;
    case CONEY_INT8: to->as.integer = from->value.i8; break;
    case CONEY_UINT8: to->as.integer = from->value.u8; break;
    case CONEY_INT16: to->as.integer = from->value.i16; break;
    case CONEY_UINT16: to->as.integer = from->value.u16; break;
    case CONEY_INT32: to->as.integer = from->value.i32; break;
    case CONEY_UINT32: to->as.integer = from->value.u32; break;
    case CONEY_INT64: to->as.integer = from->value.i64; break;
    case CONEY_TIMESTAMP: to->as.integer = (int64_t)from->value.u64; break;
    case CONEY_FLOAT: to->as.real = (double)from->value.f32; break;
    case CONEY_DOUBLE: to->as.real = from->value.f64; break;
    case CONEY_DECIMAL:
        to->as.decimal.scale = from->value.decimal.decimals;
        to->as.decimal.mantissa = (int32_t)from->value.decimal.value;
        break;
    case CONEY_STRING:
    case CONEY_BYTES: return bytes_from(arena, to, from->value.bytes);
    case CONEY_ARRAY: return array_from(arena, &to->as.array, &from->value.array);
    case CONEY_TABLE: return cny_table_from_amqp(arena, &to->as.table, &from->value.table);
    }
    return true;
}

static bool array_from(cny_arena *arena, const coney_array **to, const amqp_array_t *from)
{
    coney_array *array = cny_array_in(arena, (size_t)from->num_entries);
    *to = array;
    bool done = array;
    for (int i = 0; done && i < from->num_entries; i++) {
        coney_value value;
        done = value_from(arena, &value, &from->entries[i]) && cny_array_put(array, value);
    }
    return done;
}

bool cny_table_from_amqp(cny_arena *arena, const coney_table **to, const amqp_table_t *from)
{
    coney_table *table = cny_table_in(arena, (size_t)from->num_entries);
    *to = table;
    bool done = table;
    for (int i = 0; done && i < from->num_entries; i++) {
        coney_value value;
        const amqp_bytes_t key = from->entries[i].key;
        const char *name = cny_arena_copy(arena, key.bytes, key.len);
        done = name && value_from(arena, &value, &from->entries[i].value) && cny_table_put(table, name, value);
    }
    return done;
}
