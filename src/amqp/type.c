/* SPDX-License-Identifier: MIT */
/* C structs and messages: the public functions of types, and the headers by which Spring knows them. Any thread.
 * (Spring: JacksonJsonMessageConverter, DefaultJacksonJavaTypeMapper.) */
#include "amqp/types.h"

#include "amqp/converter.h"
#include "amqp/json_limits.h"

#include <string.h>

/* ---- text ---- */

static coney_status check_arguments(const coney_type *type, const void *result)
{
    return type && result ? CONEY_OK
                          : cny_fail(CONEY_E_INVALID, "%s is NULL", type ? "the variable for the result" : "the type");
}

static coney_status in_type(coney_status status, const coney_type *type)
{
    return status == CONEY_OK || !type->id ? status : cny_fail_in("type '%.255s'", type->id);
}

coney_status coney_type_decode(const coney_type *type, void **object, const char *json, size_t size)
{
    CNY_DISABLE_CANCEL();
    if (object)
        *object = NULL;
    if (check_arguments(type, object) != CONEY_OK)
        return CONEY_E_INVALID;
    if (!json)
        return cny_fail(CONEY_E_INVALID, "json is NULL");
    ptrdiff_t wrong = cny_utf8_error(json, size);
    if (wrong >= 0)
        return in_type(coney_conversion_failed("the JSON is not UTF-8 at byte %td", wrong), type);
    coney_json_limits limits = cny_json_limits();
    return in_type(cny_type_read(type, object, json, size, &limits), type);
}

coney_status coney_type_encode(const coney_type *type, const void *object, char **json, size_t *size)
{
    CNY_DISABLE_CANCEL();
    cny_buffer text = {0};
    if (!type || !json)
        return check_arguments(type, json);
    *json = NULL;
    if (!object)
        return cny_fail(CONEY_E_INVALID, "the object is NULL");
    coney_json_limits limits = cny_json_limits();
    coney_status status = cny_type_write(type, object, &text, &limits);
    if (status == CONEY_OK && !cny_buffer_append(&text, "", 1))
        status = cny_fail_memory();
    if (status != CONEY_OK) {
        cny_buffer_free(&text);
        return in_type(status, type);
    }
    *json = (char *)text.data;
    if (size)
        *size = text.size - 1;
    return CONEY_OK;
}

void coney_text_free(char *text)
{
    cny_free(text);
}

/* ---- type headers ---- */

const char *cny_java_class(const coney_field *element)
{
    switch (element->kind) {
    case CONEY_STRUCT: return cny_field_type(element)->id;
    case CONEY_BOOL: return "java.lang.Boolean";
    case CONEY_INT8: return "java.lang.Byte";
    case CONEY_UINT8:
    case CONEY_INT16: return "java.lang.Short";
    case CONEY_UINT16:
    case CONEY_INT32: return "java.lang.Integer";
    case CONEY_UINT32:
    case CONEY_INT64: return "java.lang.Long";
    case CONEY_UINT64: return "java.math.BigInteger";
    case CONEY_FLOAT: return "java.lang.Float";
    case CONEY_DOUBLE: return "java.lang.Double";
    case CONEY_DECIMAL: return "java.math.BigDecimal";
    case CONEY_TIMESTAMP:
    case CONEY_TIMESTAMP_MS:
    case CONEY_TIMESPEC: return "java.time.Instant";
    case CONEY_UUID: return "java.util.UUID";
    case CONEY_JSON:
    case CONEY_RAW_JSON: return "java.lang.Object";
    default: return "java.lang.String";
    }
}

static bool put_header(coney_table *headers, const char *name, const char *value)
{
    return !value || coney_table_get(headers, name) || cny_table_put(headers, name, coney_value_string(value));
}

/* Adds the headers of the type; those of the program stay. Names and values outlive the table. */
static coney_table *with_type_headers(cny_arena *arena, const coney_table *given, const coney_type *type)
{
    coney_table *headers = cny_table_in(arena, coney_table_size(given) + 3);
    for (size_t i = 0; headers && i < coney_table_size(given); i++) {
        if (!cny_table_put(headers, coney_table_name_at(given, i), *coney_table_value_at(given, i)))
            return NULL;
    }
    bool is_container = type->form != CONEY_OBJECT_FORM;
    bool done = headers && put_header(headers, CONEY_HEADER_TYPE_ID, type->id) &&
                (!is_container || put_header(headers, CONEY_HEADER_CONTENT_TYPE_ID, cny_java_class(&type->element))) &&
                (type->form != CONEY_MAP_FORM || put_header(headers, CONEY_HEADER_KEY_TYPE_ID, "java.lang.String"));
    return done ? headers : NULL;
}

static coney_status make_message(coney_message **message, const coney_type *type, const cny_buffer *text,
                                 const coney_properties *properties)
{
    uint8_t room[512];
    cny_arena arena;
    coney_properties own = properties ? *properties : (coney_properties){0};
    cny_arena_init(&arena, room, sizeof room);
    coney_table *headers = type->id ? with_type_headers(&arena, own.headers, type) : NULL;
    if (headers)
        own.headers = headers;
    coney_status status = type->id && !headers
                              ? cny_fail_memory()
                              : cny_convert_text_to(message, (const char *)text->data, CONEY_CONTENT_TYPE_JSON, &own);
    cny_arena_free(&arena);
    return status;
}

coney_status coney_message_new_object(coney_message **message, const coney_type *type, const void *object,
                                      const coney_properties *properties)
{
    CNY_DISABLE_CANCEL();
    uint8_t room[4096];
    cny_buffer text;
    if (message)
        *message = NULL;
    if (check_arguments(type, message) != CONEY_OK)
        return CONEY_E_INVALID;
    if (!object)
        return cny_fail(CONEY_E_INVALID, "the object is NULL");
    cny_buffer_on_stack(&text, room, sizeof room);
    coney_json_limits limits = cny_json_limits();
    coney_status status = cny_type_write(type, object, &text, &limits);
    if (status == CONEY_OK && !cny_buffer_append(&text, "", 1))
        status = cny_fail_memory();
    in_type(status, type);
    if (status == CONEY_OK)
        status = make_message(message, type, &text, properties);
    cny_buffer_free(&text);
    return status;
}

coney_status coney_message_object(void **object, coney_message *message, const coney_type *type)
{
    CNY_DISABLE_CANCEL();
    cny_text text;
    if (object)
        *object = NULL;
    if (check_arguments(type, object) != CONEY_OK)
        return CONEY_E_INVALID;
    coney_status status = cny_json_text(&text, message);
    if (status != CONEY_OK)
        return status;
    coney_json_limits limits = cny_json_limits();
    status = in_type(cny_type_read(type, object, text.data, text.size, &limits), type);
    cny_text_free(&text);
    return status;
}

/* ---- maps ---- */

const char *coney_map_string(const coney_map *map, const char *key)
{
    const char *const *values = map ? map->values : NULL;
    for (size_t i = map && key ? map->count : 0; i > 0; i--) {
        if (strcmp(map->keys[i - 1], key) == 0)
            return values[i - 1];
    }
    return NULL;
}
