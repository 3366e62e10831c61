/* SPDX-License-Identifier: MIT */
/* Tables and arrays of field values, each in one arena with everything it has. An array is a table whose entries have
 * no names. A table or array belongs to one thread at a time.
 *
 * Anybody who may publish decides the number of headers of a message. So a table of many entries has an index of their
 * names, and a look-up takes the same time in a table of any size. */
#include "amqp/amqp.h"

#include <assert.h>
#include <string.h>

#define MIN_INDEXED 16 /* with fewer entries a look-up compares each name */

struct entry {
    const char *name;
    coney_value value;
};

struct coney_table {
    cny_arena *arena; /* that of its own_table, or of the message or table that it is part of */
    struct entry *entries;
    size_t count;
    size_t capacity;
    uint32_t *index;  /* by hash: the number of an entry, from 1; 0: free. NULL: the table has no index */
    size_t index_end; /* a power of two, at least twice the capacity */
    int depth;        /* levels, the table itself included */
};

struct coney_array {
    coney_table items;
};

/* A table with an arena of its own. */
struct own_table {
    coney_table table;
    cny_arena arena;
};

static bool copy_value(cny_arena *arena, coney_value *copy, const coney_value *value);

static int value_depth(const coney_value *value)
{
    if (value->type == CONEY_TABLE)
        return value->as.table->depth;
    return value->type == CONEY_ARRAY ? value->as.array->items.depth : 0;
}

coney_table *cny_table_in(cny_arena *arena, size_t capacity)
{
    coney_table *table = cny_arena_alloc(arena, sizeof *table);
    if (!table)
        return NULL;
    *table = (coney_table){.arena = arena, .depth = 1, .capacity = capacity};
    if (capacity > 0)
        table->entries = cny_arena_alloc(arena, capacity * sizeof *table->entries);
    return table->entries || capacity == 0 ? table : NULL;
}

/* ---- the index of names ---- */

/* The place of the first entry of this name, or the free place that such an entry would get. */
static uint32_t *place_of(const coney_table *table, const char *name)
{
    assert(name); /* arrays have no index */
    size_t at = (size_t)cny_hash_keyed(name, strlen(name)) & (table->index_end - 1);
    while (table->index[at] > 0 && strcmp(table->entries[table->index[at] - 1].name, name) != 0)
        at = (at + 1) & (table->index_end - 1);
    return &table->index[at];
}

static void add_to_index(coney_table *table, size_t entry)
{
    uint32_t *place = place_of(table, table->entries[entry].name);
    if (*place == 0)
        *place = (uint32_t)entry + 1;
}

/* Makes an index that is large enough for all entries that fit the capacity. */
static bool make_index(coney_table *table)
{
    size_t end = (size_t)2 * MIN_INDEXED;
    while (end < 2 * table->capacity)
        end *= 2;
    table->index = cny_arena_alloc(table->arena, end * sizeof *table->index);
    if (!table->index)
        return false;
    memset(table->index, 0, end * sizeof *table->index);
    table->index_end = end;
    for (size_t i = 0; i < table->count; i++)
        add_to_index(table, i);
    return true;
}

/* ---- building ---- */

static bool grow(coney_table *table)
{
    size_t capacity = table->capacity > 0 ? table->capacity * 2 : 8;
    struct entry *entries = cny_arena_alloc(table->arena, capacity * sizeof *entries);
    if (!entries)
        return false;
    if (table->count > 0)
        memcpy(entries, table->entries, table->count * sizeof *entries);
    table->entries = entries;
    table->capacity = capacity;
    return !table->index || make_index(table);
}

bool cny_table_put(coney_table *table, const char *name, coney_value value)
{
    if (table->count == table->capacity && !grow(table))
        return false;
    if (name && table->count == MIN_INDEXED && !make_index(table))
        return false;
    table->entries[table->count++] = (struct entry){.name = name, .value = value};
    if (table->index)
        add_to_index(table, table->count - 1);
    int depth = value_depth(&value) + 1;
    if (depth > table->depth)
        table->depth = depth;
    return true;
}

coney_array *cny_array_in(cny_arena *arena, size_t capacity)
{
    return (coney_array *)cny_table_in(arena, capacity);
}

bool cny_array_put(coney_array *array, coney_value value)
{
    return cny_table_put(&array->items, NULL, value);
}

coney_table *cny_table_copy(cny_arena *arena, const coney_table *table)
{
    return cny_table_copy_without(arena, table, NULL);
}

/* The items of an array have no names. */
static bool is_named(const struct entry *entry, const char *name)
{
    return entry->name && name && strcmp(entry->name, name) == 0;
}

static bool copy_entry(coney_table *copy, const struct entry *entry)
{
    const char *name;
    coney_value value;
    return cny_arena_strdup(copy->arena, &name, entry->name) && copy_value(copy->arena, &value, &entry->value) &&
           cny_table_put(copy, name, value);
}

coney_table *cny_table_copy_without(cny_arena *arena, const coney_table *table, const char *without)
{
    size_t count = coney_table_size(table);
    coney_table *copy = cny_table_in(arena, count);
    for (size_t i = 0; copy && i < count; i++) {
        if (!is_named(&table->entries[i], without) && !copy_entry(copy, &table->entries[i]))
            return NULL;
    }
    return copy;
}

/* Is the value an array that begins with a table? */
static bool may_be_death(const coney_value *value)
{
    const coney_value *first = value->type == CONEY_ARRAY ? coney_array_at(value->as.array, 0) : NULL;
    return first && first->type == CONEY_TABLE;
}

coney_table *cny_headers_copy(cny_arena *arena, const coney_table *headers, bool *has_forged_death)
{
    coney_table *copy = cny_table_in(arena, headers->count);
    for (size_t i = 0; copy && i < headers->count; i++) {
        const struct entry *entry = &headers->entries[i];
        if (strcmp(entry->name, CONEY_HEADER_DEATH) == 0 && !may_be_death(&entry->value))
            *has_forged_death = true;
        else if (!copy_entry(copy, entry))
            return NULL;
    }
    return copy;
}

static bool copy_value(cny_arena *arena, coney_value *copy, const coney_value *value)
{
    *copy = *value;
    switch (value->type) {
    case CONEY_STRING:
    case CONEY_BYTES:
        copy->as.bytes.data = cny_arena_copy(arena, value->as.bytes.data, value->as.bytes.size);
        return copy->as.bytes.data;
    case CONEY_TABLE: copy->as.table = cny_table_copy(arena, value->as.table); return copy->as.table;
    case CONEY_ARRAY:
        copy->as.array = (coney_array *)cny_table_copy(arena, &value->as.array->items);
        return copy->as.array;
    default: return true;
    }
}

/* ---- sizes ---- */

static size_t value_wire_size(const coney_value *value)
{
    switch (value->type) {
    case CONEY_VOID: return 0;
    case CONEY_BOOL:
    case CONEY_INT8: return 1;
    case CONEY_UINT8: /* sent as a larger type, which more clients understand */
    case CONEY_INT16:
    case CONEY_UINT16: return 2;
    case CONEY_INT32:
    case CONEY_UINT32:
    case CONEY_FLOAT: return 4;
    case CONEY_DECIMAL: return 5;
    case CONEY_STRING:
    case CONEY_BYTES: return 4 + value->as.bytes.size;
    case CONEY_ARRAY: return cny_table_wire_size(&value->as.array->items);
    case CONEY_TABLE: return cny_table_wire_size(value->as.table);
    default: return 8;
    }
}

size_t cny_entry_wire_size(const char *name, const coney_value *value)
{
    return (name ? 1 + strlen(name) : 0) + 1 + value_wire_size(value);
}

size_t cny_table_wire_size(const coney_table *table)
{
    size_t size = table ? 4 : 0;
    for (size_t i = 0; table && i < table->count; i++)
        size += cny_entry_wire_size(table->entries[i].name, &table->entries[i].value);
    return size;
}

size_t cny_count_entries(const coney_value *value)
{
    const coney_table *nest = value->type == CONEY_TABLE   ? value->as.table
                              : value->type == CONEY_ARRAY ? &value->as.array->items
                                                           : NULL;
    size_t count = 1;
    for (size_t i = 0; nest && i < nest->count; i++)
        count += cny_count_entries(&nest->entries[i].value);
    return count;
}

/* ---- checks: what could not be encoded later is refused here, and nothing that a broker may deliver ---- */

static coney_status check_integer(const char *name, const coney_value *value)
{
    static const struct {
        coney_value_type type;
        int64_t lowest, highest;
    } ranges[] = {
        {CONEY_INT8, INT8_MIN, INT8_MAX}, {CONEY_UINT8, 0, UINT8_MAX},         {CONEY_INT16, INT16_MIN, INT16_MAX},
        {CONEY_UINT16, 0, UINT16_MAX},    {CONEY_INT32, INT32_MIN, INT32_MAX}, {CONEY_UINT32, 0, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (value->type == ranges[i].type &&
            (value->as.integer < ranges[i].lowest || value->as.integer > ranges[i].highest))
            return cny_fail(CONEY_E_INVALID, "'%s': %lld does not fit its type", name, (long long)value->as.integer);
    }
    return CONEY_OK;
}

static coney_status check_value(const char *name, const coney_value *value)
{
    if (value->type < CONEY_VOID || value->type > CONEY_TABLE)
        return cny_fail(CONEY_E_INVALID, "'%s': %d is no value type", name, (int)value->type);
    bool bytes = value->type == CONEY_STRING || value->type == CONEY_BYTES;
    bool missing = (bytes && !value->as.bytes.data && value->as.bytes.size > 0) ||
                   (value->type == CONEY_TABLE && !value->as.table) || (value->type == CONEY_ARRAY && !value->as.array);
    if (missing)
        return cny_fail(CONEY_E_INVALID, "'%s': the value is NULL", name);
    if (value_depth(value) >= CONEY_MAX_NESTING)
        return cny_fail(CONEY_E_INVALID, "'%s': nested deeper than %d levels", name, CONEY_MAX_NESTING);
    return check_integer(name, value);
}

/* ---- tables ---- */

coney_value coney_value_string(const char *text)
{
    return (coney_value){.type = CONEY_STRING, .as.bytes = {.data = text, .size = text ? strlen(text) : 0}};
}

coney_value coney_value_int64(int64_t integer)
{
    return (coney_value){.type = CONEY_INT64, .as.integer = integer};
}

coney_table *coney_table_new(void)
{
    struct own_table *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->table = (coney_table){.arena = &made->arena, .depth = 1};
    return &made->table;
}

void coney_table_free(coney_table *table)
{
    if (!table)
        return;
    struct own_table *own = (struct own_table *)(void *)table;
    cny_arena_free(&own->arena);
    cny_free(own);
}

static struct entry *find(const coney_table *table, const char *name)
{
    if (!table || !name)
        return NULL;
    if (table->index) {
        uint32_t number = *place_of(table, name);
        return number > 0 ? &table->entries[number - 1] : NULL;
    }
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->entries[i].name, name) == 0)
            return &table->entries[i];
    }
    return NULL;
}

static coney_status replace(coney_table *table, struct entry *entry, coney_value value)
{
    entry->value = value;
    int depth = value_depth(&value) + 1;
    if (depth > table->depth)
        table->depth = depth;
    return CONEY_OK;
}

coney_status coney_table_set(coney_table *table, const char *name, const coney_value *value)
{
    if (!table || !name || !value)
        return cny_fail(CONEY_E_INVALID, "table, name or value is NULL");
    coney_status status = cny_check_short("the name", name);
    if (status == CONEY_OK)
        status = check_value(name, value);
    if (status != CONEY_OK)
        return status;

    coney_value copy;
    if (!copy_value(table->arena, &copy, value))
        return cny_fail_memory();
    struct entry *old = find(table, name);
    if (old)
        return replace(table, old, copy);
    const char *own_name;
    if (!cny_arena_strdup(table->arena, &own_name, name) || !cny_table_put(table, own_name, copy))
        return cny_fail_memory();
    return CONEY_OK;
}

coney_status coney_table_set_string(coney_table *table, const char *name, const char *text)
{
    if (name && !text)
        return cny_fail(CONEY_E_INVALID, "'%s': the string is NULL", name);
    coney_value value = coney_value_string(text);
    return coney_table_set(table, name, &value);
}

coney_status coney_table_set_int64(coney_table *table, const char *name, int64_t integer)
{
    coney_value value = coney_value_int64(integer);
    return coney_table_set(table, name, &value);
}

coney_status coney_table_set_bool(coney_table *table, const char *name, bool boolean)
{
    return coney_table_set(table, name, &(coney_value){.type = CONEY_BOOL, .as.boolean = boolean});
}

coney_status coney_table_set_double(coney_table *table, const char *name, double real)
{
    return coney_table_set(table, name, &(coney_value){.type = CONEY_DOUBLE, .as.real = real});
}

coney_status coney_table_set_table(coney_table *table, const char *name, const coney_table *inner)
{
    return coney_table_set(table, name, &(coney_value){.type = CONEY_TABLE, .as.table = inner});
}

coney_status coney_table_set_array(coney_table *table, const char *name, const coney_array *inner)
{
    return coney_table_set(table, name, &(coney_value){.type = CONEY_ARRAY, .as.array = inner});
}

const coney_value *coney_table_get(const coney_table *table, const char *name)
{
    const struct entry *entry = find(table, name);
    return entry ? &entry->value : NULL;
}

const char *coney_table_get_string(const coney_table *table, const char *name)
{
    const coney_value *value = coney_table_get(table, name);
    return value && value->type == CONEY_STRING ? value->as.bytes.data : NULL;
}

int64_t coney_table_get_int64(const coney_table *table, const char *name, int64_t fallback)
{
    const coney_value *value = coney_table_get(table, name);
    if (!value)
        return fallback;
    bool number = (value->type >= CONEY_INT8 && value->type <= CONEY_INT64) || value->type == CONEY_TIMESTAMP;
    return number ? value->as.integer : fallback;
}

size_t coney_table_size(const coney_table *table)
{
    return table ? table->count : 0;
}

const char *coney_table_name_at(const coney_table *table, size_t index)
{
    return index < coney_table_size(table) ? table->entries[index].name : NULL;
}

const coney_value *coney_table_value_at(const coney_table *table, size_t index)
{
    return index < coney_table_size(table) ? &table->entries[index].value : NULL;
}

/* ---- arrays ---- */

coney_array *coney_array_new(void)
{
    return (coney_array *)coney_table_new();
}

void coney_array_free(coney_array *array)
{
    coney_table_free((coney_table *)array);
}

coney_status coney_array_append(coney_array *array, const coney_value *value)
{
    if (!array || !value)
        return cny_fail(CONEY_E_INVALID, "array or value is NULL");
    coney_status status = check_value("array item", value);
    if (status != CONEY_OK)
        return status;
    coney_value copy;
    if (!copy_value(array->items.arena, &copy, value) || !cny_array_put(array, copy))
        return cny_fail_memory();
    return CONEY_OK;
}

size_t coney_array_size(const coney_array *array)
{
    return array ? array->items.count : 0;
}

const coney_value *coney_array_at(const coney_array *array, size_t index)
{
    return array ? coney_table_value_at(&array->items, index) : NULL;
}
