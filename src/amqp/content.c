/* SPDX-License-Identifier: MIT */
/* Converts a body to what its message says it is: by the header __TypeId__ among the program's types, else by the
 * content type. Any thread. (Spring: DefaultJacksonJavaTypeMapper, ContentTypeDelegatingMessageConverter.) */
#include <coney/amqp/content.h>

#include "amqp/converter.h"
#include "amqp/types.h"

#include <stdio.h>
#include <string.h>

/* ---- types ---- */

/* What the headers of a message say. */
typedef struct type_ids {
    const char *type;
    const char *content;
    const char *key;
} type_ids;

static type_ids ids_of(const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    return (type_ids){.type = coney_table_get_string(headers, CONEY_HEADER_TYPE_ID),
                      .content = coney_table_get_string(headers, CONEY_HEADER_CONTENT_TYPE_ID),
                      .key = coney_table_get_string(headers, CONEY_HEADER_KEY_TYPE_ID)};
}

/* Java's classes of maps, as Spring's older mapper and programs with untyped maps send them. */
static bool is_any_object(const char *id)
{
    static const char *const ids[] = {"",
                                      "Hashtable",
                                      "java.util.Hashtable",
                                      "java.util.HashMap",
                                      "java.util.LinkedHashMap",
                                      "java.util.TreeMap",
                                      "java.util.Map",
                                      "java.lang.Object"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        if (strcmp(id, ids[i]) == 0)
            return true;
    }
    return false;
}

/* A list or map of whatever: convertAndSend() does not know the class of the elements. */
static bool is_any_collection(const type_ids *ids)
{
    return strncmp(ids->type, "java.util.", strlen("java.util.")) == 0 && strcmp(ids->content, "java.lang.Object") == 0;
}

static bool is_text(const char *id, const char *other)
{
    return id && other && strcmp(id, other) == 0;
}

/* Java names the class of an array "[L", the class of its elements, ";". */
static bool is_array_of(const char *id, const char *of)
{
    size_t size = of ? strlen(of) : 0;
    return of && strncmp(id, "[L", 2) == 0 && strncmp(id + 2, of, size) == 0 && strcmp(id + 2 + size, ";") == 0;
}

static bool is_meant(const coney_type *type, const type_ids *ids)
{
    if (!ids->content && type->form == CONEY_LIST_FORM)
        return is_array_of(ids->type, cny_java_class(&type->element));
    if (!ids->content)
        return type->form == CONEY_OBJECT_FORM && is_text(type->id, ids->type);
    coney_type_form form = ids->key ? CONEY_MAP_FORM : CONEY_LIST_FORM;
    return type->form == form && is_text(cny_java_class(&type->element), ids->content);
}

static coney_status fail_unknown(const coney_types *types, const type_ids *ids)
{
    char known[300] = "", one[90];
    for (size_t i = 0; i < types->count && strlen(known) < 200; i++) {
        snprintf(one, sizeof one, "'%.80s'", types->types[i]->id ? types->types[i]->id : "");
        if (!strstr(known, one)) /* lists of several kinds of elements have one id */
            snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", *known ? ", " : "", one);
    }
    return coney_conversion_failed("its header " CONEY_HEADER_TYPE_ID " is '%.120s'%s%.120s%s; the types here are: %s",
                                   ids->type, ids->content ? " of '" : "", ids->content ? ids->content : "",
                                   ids->content ? "'" : "", *known ? known : "none");
}

static const coney_type *find(const coney_types *types, const type_ids *ids)
{
    for (size_t i = 0; i < types->count; i++) {
        if (is_meant(types->types[i], ids))
            return types->types[i];
    }
    return NULL;
}

coney_status coney_types_find(const coney_types *types, const coney_message *message, const coney_type **type)
{
    if (type)
        *type = NULL;
    if (!types || !message || !type)
        return cny_fail(CONEY_E_INVALID, "%s is NULL", !types ? "types" : !message ? "message" : "type");
    for (size_t i = 0; i < types->count; i++) {
        if (!types->types || !types->types[i])
            return cny_fail(CONEY_E_INVALID, "types.types[%zu] is NULL, and types.count is %zu", i, types->count);
    }
    const type_ids ids = ids_of(message);
    if (!ids.type)
        return CONEY_OK;
    *type = find(types, &ids);
    bool says_nothing = ids.content ? is_any_collection(&ids) : is_any_object(ids.type);
    return *type || says_nothing ? CONEY_OK : fail_unknown(types, &ids);
}

const coney_type *cny_types_named(const coney_types *types, const coney_message *message)
{
    const type_ids ids = ids_of(message);
    return ids.type ? find(types, &ids) : NULL;
}

/* ---- checks of a registry ---- */

/* By what messages name the type, or the elements of the list or map. */
static const char *name_of(const coney_type *type)
{
    return type->form == CONEY_OBJECT_FORM ? type->id : cny_java_class(&type->element);
}

bool cny_types_same_name(const coney_type *type, const coney_type *other)
{
    return type->form == other->form && is_text(name_of(type), name_of(other));
}

coney_status cny_type_check_named(const coney_type *type)
{
    coney_status status = coney_type_check(type);
    if (status != CONEY_OK || name_of(type))
        return status;
    return cny_fail(CONEY_E_INVALID, "%s no id, so no message can name the type",
                    type->form == CONEY_OBJECT_FORM ? "it has" : "the type of its elements has");
}

static coney_status check_entry(const coney_types *types, size_t index)
{
    const coney_type *type = types->types[index];
    if (!type)
        return cny_fail(CONEY_E_INVALID, "types.types[%zu] is NULL", index);
    if (cny_type_check_named(type) != CONEY_OK)
        return cny_fail_in("types.types[%zu]", index);
    for (size_t i = 0; i < index; i++) {
        if (cny_types_same_name(types->types[i], type))
            return cny_fail(CONEY_E_INVALID, "types.types[%zu] and types.types[%zu] are both named '%.255s'%s", i,
                            index, name_of(type), type->form == CONEY_OBJECT_FORM ? "" : ", by their elements");
    }
    return CONEY_OK;
}

coney_status cny_types_check(const coney_types *types)
{
    if (!types->types != (types->count == 0))
        return cny_fail(CONEY_E_INVALID, "types.types is %s, and types.count is %zu",
                        types->types ? "not NULL" : "NULL", types->count);
    for (size_t i = 0; i < types->count; i++) {
        if (check_entry(types, i) != CONEY_OK)
            return CONEY_E_INVALID;
    }
    return CONEY_OK;
}

/* ---- content ---- */

static coney_status read_text(coney_content *content, coney_message *message)
{
    void *text;
    coney_status status = coney_text_converter()->from_message(&text, message);
    if (status == CONEY_OK)
        content->text = text;
    content->kind = CONEY_CONTENT_TEXT;
    return status;
}

static coney_status read_json(coney_content *content, coney_message *message)
{
    content->kind = CONEY_CONTENT_JSON;
    return coney_message_json(&content->json, message);
}

static coney_status read_bytes(coney_content *content, coney_message *message)
{
    char *copy = cny_realloc(NULL, message->size + 1);
    if (!copy)
        return cny_fail_memory();
    if (message->size > 0)
        memcpy(copy, message->body, message->size);
    copy[message->size] = '\0';
    content->kind = CONEY_CONTENT_BYTES;
    content->bytes = (coney_bytes){.data = copy, .size = message->size};
    return CONEY_OK;
}

static coney_status read_object(coney_content *content, coney_message *message, const coney_type *type)
{
    void *object;
    content->kind = CONEY_CONTENT_OBJECT;
    content->type = type;
    coney_status status = coney_message_object(&object, message, type);
    if (status == CONEY_OK)
        content->object = object;
    return status;
}

static coney_status read_content(coney_content *content, coney_message *message, const coney_types *types)
{
    const coney_type *type = NULL;
    coney_status status = types ? coney_types_find(types, message, &type) : CONEY_OK;
    if (status != CONEY_OK)
        return status;
    if (type)
        return read_object(content, message, type);
    if (cny_content_type_is_json(message) || cny_content_type_is(message, CONEY_CONTENT_TYPE_JSON_ALT))
        return read_json(content, message);
    return cny_content_type_is(message, "text/") ? read_text(content, message) : read_bytes(content, message);
}

coney_status coney_message_content(coney_content **content, coney_message *message, const coney_types *types)
{
    CNY_DISABLE_CANCEL();
    if (content)
        *content = NULL;
    if (!content || !message)
        return cny_fail(CONEY_E_INVALID, "%s is NULL", content ? "message" : "content");
    coney_content *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    coney_status status = read_content(made, message, types);
    if (status == CONEY_OK)
        *content = made;
    else
        coney_content_free(made);
    return status;
}

void coney_content_free(coney_content *content)
{
    if (!content)
        return;
    cny_free((void *)content->text);
    json_decref(content->json);
    cny_free((void *)content->bytes.data);
    coney_object_free((void *)content->object);
    cny_free(content);
}
