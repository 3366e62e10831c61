/* SPDX-License-Identifier: MIT */
/* Whether two values, or two declarations of one thing, are the same. Any thread. */
#include "topology/same.h"

#include "topology/fields.h"

#include <stdio.h>
#include <string.h>

static bool is_integer(const coney_value *value)
{
    return value->type >= CONEY_INT8 && value->type <= CONEY_INT64;
}

static bool same_arrays(const coney_array *one, const coney_array *other)
{
    size_t size = coney_array_size(one);
    if (size != coney_array_size(other))
        return false;
    for (size_t i = 0; i < size; i++) {
        if (!cny_same_values(coney_array_at(one, i), coney_array_at(other, i)))
            return false;
    }
    return true;
}

bool cny_same_values(const coney_value *one, const coney_value *other)
{
    if (is_integer(one) && is_integer(other))
        return one->as.integer == other->as.integer;
    if (one->type != other->type)
        return false;
    switch (one->type) {
    case CONEY_VOID: return true;
    case CONEY_BOOL: return one->as.boolean == other->as.boolean;
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return one->as.real == other->as.real;
    case CONEY_DECIMAL:
        return one->as.decimal.scale == other->as.decimal.scale &&
               one->as.decimal.mantissa == other->as.decimal.mantissa;
    case CONEY_STRING:
    case CONEY_BYTES:
        return one->as.bytes.size == other->as.bytes.size &&
               (one->as.bytes.size == 0 || memcmp(one->as.bytes.data, other->as.bytes.data, one->as.bytes.size) == 0);
    case CONEY_ARRAY: return same_arrays(one->as.array, other->as.array);
    case CONEY_TABLE: return cny_same_tables(one->as.table, other->as.table);
    default: return one->as.integer == other->as.integer;
    }
}

bool cny_same_tables(const coney_table *one, const coney_table *other)
{
    size_t size = coney_table_size(one);
    if (size != coney_table_size(other))
        return false;
    for (size_t i = 0; i < size; i++) {
        const coney_value *value = coney_table_get(other, coney_table_name_at(one, i));
        if (!value || !cny_same_values(coney_table_value_at(one, i), value))
            return false;
    }
    return true;
}

/* ---- hashes ---- */

static uint32_t hash_bytes(uint32_t seed, const void *bytes, size_t size)
{
    return seed + (size > 0 ? (uint32_t)cny_hash_keyed(bytes, size) : 0);
}

static uint32_t hash_value(const coney_value *value)
{
    uint32_t hash = is_integer(value) ? CONEY_INT64 : (uint32_t)value->type;
    bool is_real = value->type == CONEY_FLOAT || value->type == CONEY_DOUBLE;
    double real = is_real && value->as.real != 0 ? value->as.real : 0; /* -0 is the same as 0 */
    switch (value->type) {
    case CONEY_VOID: return hash;
    case CONEY_BOOL: return hash + value->as.boolean;
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return hash_bytes(hash, &real, sizeof real);
    case CONEY_DECIMAL: return hash_bytes(hash, &value->as.decimal.mantissa, sizeof value->as.decimal.mantissa);
    case CONEY_STRING:
    case CONEY_BYTES: return hash_bytes(hash, value->as.bytes.data, value->as.bytes.size);
    case CONEY_TABLE: return hash + cny_hash_table(value->as.table);
    case CONEY_ARRAY:
        for (size_t i = 0; i < coney_array_size(value->as.array); i++)
            hash = hash * 31 + hash_value(coney_array_at(value->as.array, i));
        return hash;
    default: return hash_bytes(hash, &value->as.integer, sizeof value->as.integer);
    }
}

/* The sum over entries, because their order does not matter. Name and value are hashed together, so that entries cannot
 * be exchanged for others of the same sum. */
uint32_t cny_hash_table(const coney_table *table)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < coney_table_size(table); i++) {
        const char *name = coney_table_name_at(table, i);
        const uint32_t entry[] = {hash_bytes(0, name, strlen(name)), hash_value(coney_table_value_at(table, i))};
        hash += hash_bytes(0, entry, sizeof entry);
    }
    return hash;
}

/* ---- two declarations of one name ---- */

static coney_status fail_flags(const char *thing, const char *name, const char *field)
{
    return cny_fail(CONEY_E_INVALID,
                    "%s '%s' is in the topology already, and %s differs; give both the same properties, or take "
                    "another name",
                    thing, name, field);
}

static coney_status fail_values(const char *thing, const char *name, const char *field, const char *old,
                                const char *new)
{
    return cny_fail(CONEY_E_INVALID,
                    "%s '%s' is in the topology already: %s is %s there and %s here; give both the same properties, "
                    "or take another name",
                    thing, name, field, old, new);
}

static coney_status check_same_fields(const char *thing, const char *name, const cny_typed_field *old,
                                      const cny_typed_field *new, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char old_text[CNY_VALUE_TEXT], new_text[CNY_VALUE_TEXT];
        if (cny_same_values(&old[i].value, &new[i].value))
            continue;
        cny_describe_value(&old[i].value, old_text);
        cny_describe_value(&new[i].value, new_text);
        return fail_values(thing, name, old[i].field, old_text, new_text);
    }
    return CONEY_OK;
}

coney_status cny_check_same_queue(const coney_queue *old, const coney_queue *new)
{
    const char *flag = old->transient != new->transient       ? "transient"
                       : old->exclusive != new->exclusive     ? "exclusive"
                       : old->auto_delete != new->auto_delete ? "auto_delete"
                       : old->on_refusal != new->on_refusal   ? "on_refusal"
                                                              : NULL;
    if (flag)
        return fail_flags("queue", old->name, flag);
    cny_typed_field old_fields[CNY_QUEUE_FIELDS], new_fields[CNY_QUEUE_FIELDS];
    cny_read_queue_fields(old_fields, old);
    cny_read_queue_fields(new_fields, new);
    coney_status status = check_same_fields("queue", old->name, old_fields, new_fields, CNY_QUEUE_FIELDS);
    if (status == CONEY_OK && !cny_same_tables(old->arguments, new->arguments))
        status = fail_flags("queue", old->name, "one of its arguments");
    return status;
}

coney_status cny_check_same_exchange(const coney_exchange *old, const coney_exchange *new)
{
    const char *flag = old->transient != new->transient       ? "transient"
                       : old->auto_delete != new->auto_delete ? "auto_delete"
                       : old->internal != new->internal       ? "internal"
                       : old->on_refusal != new->on_refusal   ? "on_refusal"
                                                              : NULL;
    const char *old_type = cny_exchange_type_name(old), *new_type = cny_exchange_type_name(new);
    if (strcmp(old_type, new_type) != 0)
        return fail_values("exchange", old->name, "type", old_type, new_type);
    if (flag)
        return fail_flags("exchange", old->name, flag);
    cny_typed_field old_fields[CNY_EXCHANGE_FIELDS], new_fields[CNY_EXCHANGE_FIELDS];
    cny_read_exchange_fields(old_fields, old);
    cny_read_exchange_fields(new_fields, new);
    coney_status status = check_same_fields("exchange", old->name, old_fields, new_fields, CNY_EXCHANGE_FIELDS);
    if (status == CONEY_OK && !cny_same_tables(old->arguments, new->arguments))
        status = fail_flags("exchange", old->name, "one of its arguments");
    return status;
}
