/* SPDX-License-Identifier: MIT */
/* Reads JSON into C structs, in one pass: members in any order, lists of unknown length, structs in each other. Any
 * thread; recursion only as deep as the limit of the document. */
#include "amqp/type_reader.h"

#include "amqp/amqp.h"
#include "amqp/json_writer.h"

#include <string.h>

static coney_status read_value(cny_type_reader *reader, const coney_field *field, void *to);
static coney_status read_object(cny_type_reader *reader, const coney_type *type, void *object);

/* Room for values of all types: the arena aligns to 8 bytes, and a struct of the program may need 16. */
static void *alloc_values(cny_type_reader *reader, size_t size)
{
    char *piece = cny_reader_alloc(reader, size + 8);
    return piece ? piece + (uintptr_t)piece % 16 : NULL;
}

static void *alloc_zeroed(cny_type_reader *reader, size_t size)
{
    void *piece = alloc_values(reader, size);
    return piece ? memset(piece, 0, size) : NULL;
}

/* ---- lists ---- */

/* Elements gather in the scratch buffer, because their number is not known before the list has ended. */
typedef struct gathering {
    const coney_field *field;
    size_t begin; /* in the scratch buffer */
    size_t count;
    size_t stride;
    void *one; /* the element that is read */
} gathering;

static coney_status begin_gathering(cny_type_reader *reader, const coney_field *field, size_t stride, gathering *list)
{
    *list = (gathering){.field = field, .begin = reader->scratch.size, .stride = stride};
    list->one = alloc_values(reader, stride);
    return list->one ? CONEY_OK : cny_last_status();
}

static coney_status keep_element(cny_type_reader *reader, gathering *list)
{
    list->count++;
    if (reader->used + reader->scratch.size > reader->json.limits.max_bytes)
        return cny_fail_object_size(reader);
    return cny_buffer_append(&reader->scratch, list->one, list->stride) ? CONEY_OK : cny_fail_memory();
}

/* A struct that a list points to is read into memory of its own. */
static coney_status read_pointed(cny_type_reader *reader, const coney_field *field, void *to)
{
    const coney_type *type = cny_field_type(field);
    void *object = alloc_zeroed(reader, type->size);
    if (!object)
        return cny_last_status();
    memcpy(to, &object, sizeof object);
    return read_object(reader, type, object);
}

static coney_status read_element(cny_type_reader *reader, const coney_field *field, void *to, size_t index)
{
    cny_path path = {.parent = reader->path, .index = index};
    reader->path = &path;
    bool is_pointed = field->shape == CONEY_TERMINATED && field->kind == CONEY_STRUCT;
    coney_status status = is_pointed ? read_pointed(reader, field, to) : read_value(reader, field, to);
    reader->path = path.parent;
    return status;
}

static coney_status gather(cny_type_reader *reader, gathering *list)
{
    bool more = true;
    coney_status status = cny_json_enter(&reader->json, '[');
    while (status == CONEY_OK) {
        status = cny_json_next_element(&reader->json, list->count == 0, &more);
        if (status != CONEY_OK || !more)
            break;
        memset(list->one, 0, list->stride);
        status = read_element(reader, list->field, list->one, list->count);
        if (status == CONEY_OK)
            status = keep_element(reader, list);
    }
    return status;
}

/* Moves the elements to the object, with a NULL after them. */
static void *end_gathering(cny_type_reader *reader, const gathering *list)
{
    size_t size = list->count * list->stride;
    char *items = alloc_values(reader, size + sizeof(void *));
    if (!items)
        return NULL;
    memcpy(items, reader->scratch.data + list->begin, size);
    memset(items + size, 0, sizeof(void *));
    reader->scratch.size = list->begin;
    return items;
}

static coney_status read_list(cny_type_reader *reader, const coney_field *field, char *base)
{
    gathering list;
    if (cny_json_peek(&reader->json) != '[')
        return cny_fail_kind(reader, "an array");
    coney_status status = begin_gathering(reader, field, cny_field_size(field), &list);
    if (status == CONEY_OK)
        status = gather(reader, &list);
    if (status == CONEY_OK)
        status = cny_check_count(field, reader->path, list.count);
    void *items = status == CONEY_OK ? end_gathering(reader, &list) : NULL;
    if (!items)
        return cny_last_status();
    memcpy(base + field->offset, &items, sizeof items);
    if (field->has_count)
        memcpy(base + field->count_offset, &list.count, sizeof list.count);
    return CONEY_OK;
}

/* An array within the struct. */
static coney_status read_fixed(cny_type_reader *reader, const coney_field *field, char *base)
{
    bool more = true;
    size_t count = 0;
    if (cny_json_peek(&reader->json) != '[')
        return cny_fail_kind(reader, "an array");
    coney_status status = cny_json_enter(&reader->json, '[');
    for (; status == CONEY_OK; count++) {
        status = cny_json_next_element(&reader->json, count == 0, &more);
        if (status != CONEY_OK || !more)
            break;
        if (count == field->capacity)
            return cny_path_fail(reader->path, "more than %zu elements", field->capacity);
        status = read_element(reader, field, base + field->offset + count * field->size, count);
    }
    if (status == CONEY_OK && !field->has_count && count < field->capacity)
        return cny_path_fail(reader->path, "%zu elements are too few; %zu are required", count, field->capacity);
    if (status == CONEY_OK && field->has_count)
        memcpy(base + field->count_offset, &count, sizeof count);
    return status == CONEY_OK ? cny_check_count(field, reader->path, count) : status;
}

/* ---- names of members ---- */

/* A name without escapes, in memory of its own with a NUL. NULL: the failure is told. */
static char *copy_name(cny_type_reader *reader, const cny_slice *name)
{
    char *copy = cny_reader_alloc(reader, name->size + 1);
    if (!copy)
        return NULL;
    size_t size = cny_json_unescape(name, copy);
    copy[size] = '\0';
    if (strlen(copy) == size)
        return copy;
    cny_path_fail(reader->path, "the name of a member contains a NUL");
    return NULL;
}

/* Names with escapes are rare. */
static coney_status next_member(cny_type_reader *reader, bool is_first, bool *more, cny_slice *name)
{
    coney_status status = cny_json_next_member(&reader->json, is_first, more, name);
    if (status != CONEY_OK || !*more || !name->is_escaped)
        return status;
    char *copy = copy_name(reader, name);
    if (!copy)
        return cny_last_status();
    *name = (cny_slice){.data = copy, .size = strlen(copy)};
    return CONEY_OK;
}

/* ---- maps ---- */

/* An entry is the value and a pointer to its key, in this order, so that the value is aligned. */
static coney_status read_entry(cny_type_reader *reader, gathering *map, const cny_slice *name)
{
    cny_path path = {.parent = reader->path, .name = name->data, .name_size = name->size};
    memset(map->one, 0, map->stride);
    char *key = copy_name(reader, name);
    if (!key)
        return cny_last_status();
    memcpy((char *)map->one + map->stride - sizeof key, &key, sizeof key);
    reader->path = &path;
    coney_status status = read_value(reader, map->field, map->one);
    reader->path = path.parent;
    return status == CONEY_OK ? keep_element(reader, map) : status;
}

static coney_status end_map(cny_type_reader *reader, const gathering *entries, coney_map *map)
{
    size_t size = entries->stride - sizeof(char *);
    const uint8_t *from = reader->scratch.data + entries->begin;
    map->count = entries->count;
    map->keys = cny_reader_alloc(reader, entries->count * sizeof(char *));
    map->values = map->keys ? alloc_values(reader, entries->count * size) : NULL;
    if (!map->values)
        return cny_last_status();
    for (size_t i = 0; i < entries->count; i++, from += entries->stride) {
        memcpy((char *)map->values + i * size, from, size);
        memcpy(&map->keys[i], from + size, sizeof(char *));
    }
    reader->scratch.size = entries->begin;
    return CONEY_OK;
}

static coney_status read_map(cny_type_reader *reader, const coney_field *field, coney_map *map)
{
    bool more = true;
    gathering entries;
    cny_slice name;
    if (cny_json_peek(&reader->json) != '{')
        return cny_fail_kind(reader, "an object");
    coney_status status = begin_gathering(reader, field, cny_field_size(field) + sizeof(char *), &entries);
    if (status == CONEY_OK)
        status = cny_json_enter(&reader->json, '{');
    while (status == CONEY_OK) {
        status = next_member(reader, entries.count == 0, &more, &name);
        if (status != CONEY_OK || !more)
            break;
        status = read_entry(reader, &entries, &name);
    }
    if (status == CONEY_OK)
        status = cny_check_count(field, reader->path, entries.count);
    return status == CONEY_OK ? end_map(reader, &entries, map) : status;
}

/* ---- fields ---- */

static coney_status read_value(cny_type_reader *reader, const coney_field *field, void *to)
{
    return field->kind == CONEY_STRUCT ? read_object(reader, cny_field_type(field), to)
                                       : cny_read_scalar(reader, field, to);
}

static coney_status read_pointer(cny_type_reader *reader, const coney_field *field, void *to)
{
    void *value = alloc_zeroed(reader, field->size);
    if (!value)
        return cny_last_status();
    memcpy(to, &value, sizeof value);
    return read_value(reader, field, value);
}

static coney_status read_shape(cny_type_reader *reader, const coney_field *field, char *base)
{
    switch (field->shape) {
    case CONEY_POINTED: return read_pointer(reader, field, base + field->offset);
    case CONEY_LISTED:
    case CONEY_TERMINATED: return read_list(reader, field, base);
    case CONEY_FIXED: return read_fixed(reader, field, base);
    case CONEY_MAPPED: return read_map(reader, field, (coney_map *)(base + field->offset));
    default: return read_value(reader, field, base + field->offset);
    }
}

/* The default is read as if it stood in the document. */
static coney_status read_default(cny_type_reader *reader, const coney_field *field, char *base)
{
    const char *text = field->options.default_text;
    cny_json_reader document = reader->json;
    cny_buffer quoted = {0};
    bool is_quoted = cny_default_is_text(field);
    if (is_quoted && !cny_write_string(&quoted, text, strlen(text)))
        return cny_fail_memory();
    cny_json_reader_init(&reader->json, is_quoted ? (const char *)quoted.data : text,
                         is_quoted ? quoted.size : strlen(text), &document.limits);
    coney_status status = read_value(reader, field, base + field->offset);
    if (status == CONEY_OK)
        status = cny_json_end(&reader->json);
    cny_buffer_free(&quoted);
    reader->json = document;
    return status == CONEY_OK ? status : cny_fail_in("the default");
}

static coney_status leave_out(cny_type_reader *reader, const coney_field *field, char *base)
{
    return field->options.default_text ? read_default(reader, field, base) : CONEY_OK;
}

static coney_status read_null(cny_type_reader *reader, const coney_field *field, char *base)
{
    coney_status status = cny_json_null(&reader->json);
    return status == CONEY_OK ? leave_out(reader, field, base) : status;
}

static coney_status read_field(cny_type_reader *reader, const coney_field *field, char *base)
{
    cny_path path = {.parent = reader->path, .name = cny_field_name(field), .name_size = strlen(cny_field_name(field))};
    reader->path = &path;
    bool is_null = cny_json_peek(&reader->json) == 'n';
    bool is_left_out = is_null && (cny_field_is_optional(field) || field->shape == CONEY_POINTED);
    coney_status status = cny_field_check(field);
    if (status == CONEY_OK && is_left_out)
        status = read_null(reader, field, base);
    else if (status == CONEY_OK)
        status = read_shape(reader, field, base);
    if (status == CONEY_OK && field->options.has > 0)
        *(bool *)(base + field->options.has - 1) = !is_left_out;
    reader->path = path.parent;
    return status;
}

/* ---- structs ---- */

/* The object that is read: which of its fields have come, and which is expected next. */
typedef struct arrival {
    uint64_t seen[CONEY_MAX_FIELDS / 64];
    size_t next;
} arrival;

static bool is_named(const coney_field *field, const cny_slice *name)
{
    const char *own = cny_field_name(field);
    return strncmp(own, name->data, name->size) == 0 && own[name->size] == '\0' && field->kind != CONEY_UNKNOWN;
}

/* Most documents have their members in the order of the table. SIZE_MAX: no field has this name. */
static size_t find_field(const coney_type *type, const cny_slice *name, size_t next)
{
    for (size_t i = 0; i < type->field_count; i++) {
        size_t index = next + i < type->field_count ? next + i : next + i - type->field_count;
        if (is_named(&type->fields[index], name))
            return index;
    }
    return SIZE_MAX;
}

static const coney_field *unknown_field(const coney_type *type)
{
    for (size_t i = 0; i < type->field_count; i++) {
        if (type->fields[i].kind == CONEY_UNKNOWN)
            return &type->fields[i];
    }
    return NULL;
}

static coney_status keep_unknown(cny_type_reader *reader, const coney_field *field, char *base, const cny_slice *name,
                                 const cny_slice *text)
{
    json_t *all, *tree;
    memcpy(&all, base + field->offset, sizeof all);
    coney_status status = all ? CONEY_OK : cny_read_tree(reader, &(cny_slice){.data = "{}", .size = 2}, &all);
    if (status == CONEY_OK)
        status = cny_read_tree(reader, text, &tree);
    char *key = status == CONEY_OK ? copy_name(reader, name) : NULL;
    if (!key)
        return cny_last_status();
    memcpy(base + field->offset, &all, sizeof all);
    return json_object_set_nocheck(all, key, tree) == 0 ? CONEY_OK : cny_fail_memory();
}

static coney_status read_unknown(cny_type_reader *reader, const coney_type *type, char *base, const cny_slice *name)
{
    cny_slice text;
    cny_path path = {.parent = reader->path, .name = name->data, .name_size = name->size};
    if (type->options.refuse_unknown)
        return cny_path_fail(&path, "no such field in type '%s'", type->id ? type->id : "");
    coney_status status = cny_json_skip(&reader->json, &text);
    const coney_field *unknown = status == CONEY_OK ? unknown_field(type) : NULL;
    if (!unknown)
        return status;
    reader->path = &path;
    status = cny_field_check(unknown);
    if (status == CONEY_OK)
        status = keep_unknown(reader, unknown, base, name, &text);
    reader->path = path.parent;
    return status;
}

/* If a member comes twice, the second value counts, and nothing of the first one is left. */
static void clear_field(const coney_field *field, char *base)
{
    memset(base + field->offset, 0, cny_field_bytes(field));
    if (field->has_count && field->shape != CONEY_MAPPED)
        memset(base + field->count_offset, 0, sizeof(size_t));
}

static coney_status read_member(cny_type_reader *reader, const coney_type *type, char *base, const cny_slice *name,
                                arrival *fields)
{
    size_t index = find_field(type, name, fields->next);
    if (index == SIZE_MAX)
        return read_unknown(reader, type, base, name);
    uint64_t bit = UINT64_C(1) << index % 64;
    if (fields->seen[index / 64] & bit)
        clear_field(&type->fields[index], base);
    fields->seen[index / 64] |= bit;
    fields->next = index + 1;
    return read_field(reader, &type->fields[index], base);
}

static coney_status complete(cny_type_reader *reader, const coney_type *type, char *base, const arrival *fields)
{
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < type->field_count && status == CONEY_OK; i++) {
        const coney_field *field = &type->fields[i];
        if (fields->seen[i / 64] >> i % 64 & 1 || field->kind == CONEY_UNKNOWN)
            continue;
        const char *name = cny_field_name(field);
        cny_path path = {.parent = reader->path, .name = name, .name_size = strlen(name)};
        reader->path = &path;
        status = cny_field_is_optional(field) ? leave_out(reader, field, base) : cny_path_fail(&path, "missing");
        reader->path = path.parent;
    }
    return status;
}

static coney_status read_struct(cny_type_reader *reader, const coney_type *type, void *object)
{
    bool more = true;
    cny_slice name;
    arrival fields;
    memset(fields.seen, 0, (type->field_count + 63) / 64 * sizeof *fields.seen);
    fields.next = 0;
    if (cny_json_peek(&reader->json) != '{')
        return cny_fail_kind(reader, "an object");
    coney_status status = cny_json_enter(&reader->json, '{');
    for (bool is_first = true; status == CONEY_OK; is_first = false) {
        status = next_member(reader, is_first, &more, &name);
        if (status != CONEY_OK || !more)
            break;
        status = read_member(reader, type, object, &name, &fields);
    }
    return status == CONEY_OK ? complete(reader, type, object, &fields) : status;
}

static coney_status read_object(cny_type_reader *reader, const coney_type *type, void *object)
{
    coney_status status = cny_type_check_form(type);
    if (status == CONEY_OK && type->form == CONEY_OBJECT_FORM)
        status = read_struct(reader, type, object);
    else if (status == CONEY_OK)
        status = read_shape(reader, &type->element, object);
    return status == CONEY_OK ? cny_type_call_check(type, object, reader->path) : status;
}

/* ---- documents ---- */

static cny_owner *owner_of(void *object)
{
    return (cny_owner *)object - 1;
}

void coney_object_free(void *object)
{
    if (!object)
        return;
    cny_owner *owner = owner_of(object);
    cny_owned_jsons_free(owner);
    cny_arena_free(&owner->arena);
    cny_free(owner);
}

size_t cny_object_weight(const void *object, size_t json_size)
{
    const cny_owner *owner = (const cny_owner *)object - 1;
    return sizeof *owner + owner->arena.held + (owner->jsons ? CNY_JSON_GROWTH * json_size : 0);
}

/* The object, and room for texts that are as long as the document, as most documents consist of names and texts. */
static cny_owner *new_owner(const coney_type *type, size_t size)
{
    size_t room = size < 65536 ? size : 65536;
    size_t object = (type->size + 15) & ~(size_t)15;
    cny_owner *owner = cny_realloc(NULL, sizeof *owner + object + room);
    if (!owner)
        return NULL;
    memset(owner, 0, sizeof *owner + object);
    cny_arena_init(&owner->arena, (char *)(owner + 1) + object, room);
    return owner;
}

coney_status cny_type_read(const coney_type *type, void **object, const char *json, size_t size,
                           const coney_json_limits *limits)
{
    uint8_t room[2048];
    cny_type_reader reader = {.owner = new_owner(type, size), .used = type->size};
    if (!reader.owner)
        return cny_fail_memory();
    cny_json_reader_init(&reader.json, json, size, limits);
    cny_buffer_on_stack(&reader.scratch, room, sizeof room);
    void *made = reader.owner + 1;
    coney_status status = size > 0 ? read_object(&reader, type, made) : coney_conversion_failed("the text is empty");
    if (status == CONEY_OK)
        status = cny_json_end(&reader.json);
    cny_buffer_free(&reader.scratch);
    if (status == CONEY_OK)
        *object = made;
    else
        coney_object_free(made);
    return status;
}
