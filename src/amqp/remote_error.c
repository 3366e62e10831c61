/* SPDX-License-Identifier: MIT */
/* Makes and reads error replies. Any thread. A reply may come from anybody, so whatever its body is, the result is an
 * error with a code and a message. */
#include "amqp/amqp.h"
#include "amqp/java_error.h"

#include <coney/amqp/headers.h>
#include <coney/amqp/remote_error.h>
#include <coney/amqp/type.h>

#include <string.h>

#define MAX_BODY 1048576 /* bytes of JSON that are read */
#define MAX_CODE 255
#define MAX_MESSAGE 4096
#define UNKNOWN_CLASS "java.lang.Throwable" /* Jackson does not write the class */

/* ---- the forms in JSON ---- */

static const coney_field own_fields[] = {
    CONEY_FIELD(coney_remote_error, code, CONEY_STRING, .optional = true),
    CONEY_FIELD(coney_remote_error, message, CONEY_STRING, .optional = true),
    CONEY_FIELD(coney_remote_error, retriable, CONEY_BOOL, .optional = true),
};
static const coney_type own_type = CONEY_TYPE(NULL, coney_remote_error, own_fields);

typedef struct java_exception {
    char *message;
} java_exception;

typedef struct java_result {
    java_exception *exception;
} java_result;

static const coney_field exception_fields[] = {
    CONEY_FIELD(java_exception, message, CONEY_STRING, .optional = true),
};
static const coney_type exception_type = CONEY_TYPE(NULL, java_exception, exception_fields);
static const coney_field result_fields[] = {
    CONEY_POINTER(java_result, exception, CONEY_STRUCT(exception_type), .optional = true),
};
static const coney_type result_type = CONEY_TYPE(NULL, java_result, result_fields);

/* ---- what kind of message ---- */

typedef enum error_form { NO_ERROR, OWN_FORM, SPRING_JSON, SPRING_JAVA } error_form;

static bool has_own_header(const coney_message *message)
{
    const coney_value *value = coney_message_header(message, CONEY_HEADER_ERROR);
    return value && value->type == CONEY_BOOL && value->as.boolean;
}

static bool is_spring_result(const coney_message *message)
{
    const char *type = coney_table_get_string(message->properties.headers, CONEY_HEADER_TYPE_ID);
    return type && (strcmp(type, "org.springframework.amqp.support.converter.RemoteInvocationResult") == 0 ||
                    strcmp(type, "org.springframework.remoting.support.RemoteInvocationResult") == 0);
}

static coney_status decode(const coney_type *type, void **object, const coney_message *message)
{
    *object = NULL;
    return message->size <= MAX_BODY
               ? coney_type_decode(type, object, (const char *)message->body, message->size)
               : cny_fail(CONEY_E_CONVERSION, "the body has %zu bytes; %d are read", message->size, MAX_BODY);
}

/* A result that cannot be read is taken for an error. */
static bool has_exception(const coney_message *message)
{
    void *object;
    bool is_set = decode(&result_type, &object, message) != CONEY_OK || ((const java_result *)object)->exception;
    coney_object_free(object);
    return is_set;
}

static error_form form_of(const coney_message *message)
{
    const char *content_type = message->properties.content_type;
    if (has_own_header(message))
        return OWN_FORM;
    if (is_spring_result(message))
        return has_exception(message) ? SPRING_JSON : NO_ERROR;
    bool is_java = content_type && strcmp(content_type, "application/x-java-serialized-object") == 0;
    return is_java && cny_java_is_error(message->body, message->size) ? SPRING_JAVA : NO_ERROR;
}

bool coney_message_is_error(const coney_message *message)
{
    return message && form_of(message) != NO_ERROR;
}

/* ---- reading ---- */

/* Cuts, so that a long text cannot take memory. */
static size_t shorter(size_t size, size_t most)
{
    return size < most ? size : most;
}

static coney_status give(coney_remote_error **error, cny_java_text code, cny_java_text message, bool retriable)
{
    size_t code_size = shorter(code.size, MAX_CODE), message_size = shorter(message.size, MAX_MESSAGE);
    coney_remote_error *made = cny_alloc(sizeof *made + code_size + message_size + 2);
    if (!made)
        return cny_fail_memory();
    char *texts = (char *)(made + 1);
    memcpy(texts, code.data, code_size);
    memcpy(texts + code_size + 1, message.data, message_size);
    *made = (coney_remote_error){.code = texts, .message = texts + code_size + 1, .retriable = retriable};
    *error = made;
    return CONEY_OK;
}

static cny_java_text text_of(const char *text, const char *otherwise)
{
    const char *chosen = text && *text ? text : otherwise;
    return (cny_java_text){.data = chosen, .size = strlen(chosen)};
}

static coney_status read_own(coney_remote_error **error, const coney_message *message)
{
    void *object;
    coney_status status = decode(&own_type, &object, message);
    if (status == CONEY_E_NO_MEMORY)
        return status;
    if (status != CONEY_OK)
        return give(error, text_of("ERROR", NULL), text_of("the error reply cannot be read", NULL), false);
    const coney_remote_error *told = object;
    status = give(error, text_of(told->code, "ERROR"), text_of(told->message, ""), told->retriable);
    coney_object_free(object);
    return status;
}

static coney_status read_spring_json(coney_remote_error **error, const coney_message *message)
{
    void *object;
    coney_status status = decode(&result_type, &object, message);
    if (status == CONEY_E_NO_MEMORY)
        return status;
    const java_exception *exception = status == CONEY_OK ? ((const java_result *)object)->exception : NULL;
    const char *text = exception ? exception->message : "the RemoteInvocationResult cannot be read";
    status = give(error, text_of(UNKNOWN_CLASS, NULL), text_of(text, ""), false);
    coney_object_free(object);
    return status;
}

static coney_status read_spring_java(coney_remote_error **error, const coney_message *message)
{
    cny_java_error found = cny_java_read_error(message->body, message->size);
    if (!found.class_name.data)
        found.class_name = text_of(UNKNOWN_CLASS, NULL);
    if (!found.message.data)
        found.message = text_of("", "");
    return give(error, found.class_name, found.message, false);
}

coney_status coney_message_error(coney_remote_error **error, const coney_message *message)
{
    if (error)
        *error = NULL;
    if (!error || !message)
        return cny_fail(CONEY_E_INVALID, "error reply: the message or the place for the error is NULL");
    switch (form_of(message)) {
    case OWN_FORM: return read_own(error, message);
    case SPRING_JSON: return read_spring_json(error, message);
    case SPRING_JAVA: return read_spring_java(error, message);
    case NO_ERROR: break;
    }
    return CONEY_OK;
}

void coney_remote_error_free(coney_remote_error *error)
{
    cny_free(error);
}

/* ---- making ---- */

coney_status coney_message_new_error(coney_message **message, const coney_remote_error *error)
{
    if (message)
        *message = NULL;
    if (!message || !error)
        return cny_fail(CONEY_E_INVALID, "error reply: the error or the place for the message is NULL");
    const coney_remote_error full = {.code = error->code ? error->code : "ERROR",
                                     .message = error->message ? error->message : "",
                                     .retriable = error->retriable};
    const coney_value yes = {.type = CONEY_BOOL, .as.boolean = true};
    coney_table *headers = coney_table_new();
    coney_status status = headers ? coney_table_set(headers, CONEY_HEADER_ERROR, &yes) : cny_fail_memory();
    if (status == CONEY_OK)
        status = coney_message_new_object(message, &own_type, &full, &(coney_properties){.headers = headers});
    coney_table_free(headers);
    return status;
}
