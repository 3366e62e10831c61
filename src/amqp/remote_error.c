/* SPDX-License-Identifier: MIT */
/* Makes and reads error replies. Any thread. A reply may come from anybody, so whatever its body is, the result is an
 * error with a code and a message. A body is read from front to back, without a tree, and what was read before it
 * became unreadable counts. */
#include "amqp/amqp.h"
#include "amqp/converter.h"
#include "amqp/java_error.h"
#include "amqp/json_limits.h"
#include "amqp/json_reader.h"

#include <coney/amqp/headers.h>
#include <coney/amqp/remote_error.h>
#include <coney/amqp/type.h>

#include <stdio.h>
#include <string.h>

#define MAX_CODE 255
#define MAX_MESSAGE 4096
#define UNKNOWN_CLASS "java.lang.Throwable" /* Jackson does not write the class, unless the program tells it to */

/* Spring's wrapper of what a listener has thrown. */
#define LISTENER_FAILED "org.springframework.amqp.rabbit.support.ListenerExecutionFailedException"

/* ---- the forms in JSON ---- */

/* Texts in the body. What is missing or of another type has no data. */
typedef struct told_error {
    cny_slice code;
    cny_slice message;
    bool retriable;
    bool has_exception; /* of a RemoteInvocationResult */
    bool has_stack;     /* the exception has a stack trace */
    bool is_foreign;    /* there is a member, or a value, that the RemoteInvocationResult of an exception lacks */
} told_error;

typedef coney_status read_member(cny_json_reader *reader, const cny_slice *name, told_error *told);

static bool is_name(const cny_slice *name, const char *expected)
{
    return name->size == strlen(expected) && memcmp(name->data, expected, name->size) == 0;
}

static coney_status skip(cny_json_reader *reader)
{
    cny_slice ignored;
    return cny_json_skip(reader, &ignored);
}

static coney_status read_text(cny_json_reader *reader, cny_slice *text)
{
    cny_slice found;
    if (cny_json_peek(reader) != '"')
        return skip(reader);
    coney_status status = cny_json_string(reader, &found);
    if (status == CONEY_OK)
        *text = found;
    return status;
}

static coney_status read_object(cny_json_reader *reader, read_member *read, told_error *told)
{
    bool more;
    cny_slice name;
    coney_status status = cny_json_enter(reader, '{');
    if (status == CONEY_OK)
        status = cny_json_next_member(reader, true, &more, &name);
    while (status == CONEY_OK && more) {
        status = read(reader, &name, told);
        if (status == CONEY_OK)
            status = cny_json_next_member(reader, false, &more, &name);
    }
    return status;
}

static coney_status read_own_member(cny_json_reader *reader, const cny_slice *name, told_error *told)
{
    char first = cny_json_peek(reader);
    if (is_name(name, "code"))
        return read_text(reader, &told->code);
    if (is_name(name, "message"))
        return read_text(reader, &told->message);
    if (is_name(name, "retriable") && (first == 't' || first == 'f'))
        return cny_json_bool(reader, &told->retriable);
    return skip(reader);
}

static coney_status read_exception_member(cny_json_reader *reader, const cny_slice *name, told_error *told)
{
    told->has_stack = told->has_stack || (is_name(name, "stackTrace") && cny_json_peek(reader) == '[');
    if (is_name(name, "@class"))
        return read_text(reader, &told->code);
    return is_name(name, "message") ? read_text(reader, &told->message) : skip(reader);
}

static coney_status read_result_member(cny_json_reader *reader, const cny_slice *name, told_error *told)
{
    char first = cny_json_peek(reader);
    if (!is_name(name, "exception")) {
        told->is_foreign = told->is_foreign || !is_name(name, "value") || first != 'n';
        return skip(reader);
    }
    told->has_exception = first != 'n';
    return first == '{' ? read_object(reader, read_exception_member, told) : skip(reader);
}

static coney_status read_json(const coney_message *message, read_member *read, told_error *told)
{
    cny_json_reader reader;
    const coney_json_limits limits = cny_json_limits();
    const char *body = (const char *)message->body;
    *told = (told_error){0};
    ptrdiff_t wrong = cny_utf8_error(body, message->size);
    if (wrong >= 0)
        return coney_conversion_failed("byte %td of the body is not UTF-8", wrong);
    cny_json_reader_init(&reader, body, message->size, &limits);
    coney_status status = read_object(&reader, read, told);
    return status == CONEY_OK ? cny_json_end(&reader) : status;
}

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

/* A result that cannot be read is taken for an error. */
static bool has_exception(const coney_message *message)
{
    told_error told;
    return read_json(message, read_result_member, &told) != CONEY_OK || told.has_exception;
}

/* A listener method that has a return type writes that type into the header, although the body is a
 * RemoteInvocationResult: Jackson's {"value":null,"exception":{...}}, or the other way round. An exception has a stack
 * trace, and there is nothing else. */
static bool is_unnamed_exception(const coney_message *message)
{
    static const char *const begins[] = {"{\"value\":null,\"exception\":{", "{\"exception\":{"};
    told_error told;
    bool may_be = false;
    for (size_t i = 0; i < sizeof begins / sizeof *begins && !may_be; i++) {
        size_t size = strlen(begins[i]);
        may_be = message->size > size && memcmp(message->body, begins[i], size) == 0;
    }
    return may_be && read_json(message, read_result_member, &told) == CONEY_OK && told.has_exception &&
           told.has_stack && !told.is_foreign;
}

static error_form form_of(const coney_message *message)
{
    if (has_own_header(message))
        return OWN_FORM;
    if (cny_content_type_is(message, CONEY_CONTENT_TYPE_JAVA))
        return cny_java_is_error(message->body, message->size) ? SPRING_JAVA : NO_ERROR;
    bool is_error = is_spring_result(message) ? has_exception(message) : is_unnamed_exception(message);
    return is_error ? SPRING_JSON : NO_ERROR;
}

bool coney_message_is_error(const coney_message *message)
{
    return message && form_of(message) != NO_ERROR;
}

/* ---- reading ---- */

/* Cuts between characters. */
static size_t cut(const cny_slice *text, size_t most)
{
    if (text->size <= most)
        return text->size;
    while (most > 0 && ((unsigned char)text->data[most] & 0xc0) == 0x80)
        most--;
    return most;
}

static void copy_text(char *to, const cny_slice *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (char)(text->data[i] ? text->data[i] : '?');
    to[size] = '\0';
    cny_text_make_safe(to);
}

/* The texts have no escapes. */
static coney_status give(coney_remote_error **error, const told_error *told)
{
    size_t code_size = cut(&told->code, MAX_CODE), message_size = cut(&told->message, MAX_MESSAGE);
    coney_remote_error *made = cny_alloc(sizeof *made + code_size + message_size + 2);
    if (!made)
        return cny_fail_memory();
    char *code = (char *)(made + 1), *message = code + code_size + 1;
    copy_text(code, &told->code, code_size);
    copy_text(message, &told->message, message_size);
    *made = (coney_remote_error){.code = code, .message = message, .retriable = told->retriable};
    *error = made;
    return CONEY_OK;
}

static cny_slice slice_of(const char *text)
{
    return (cny_slice){.data = text, .size = strlen(text)};
}

/* Into a buffer that has room. */
static void unescape(cny_slice *text, cny_buffer *buffer)
{
    char *to = (char *)buffer->data + buffer->size;
    text->size = cny_json_unescape(text, to);
    text->data = to;
    buffer->size += text->size;
}

static coney_status give_json(coney_remote_error **error, const coney_message *message, read_member *read,
                              const char *default_code)
{
    told_error told;
    char sentence[512] = "";
    cny_buffer buffer = {0};
    if (read_json(message, read, &told) != CONEY_OK)
        snprintf(sentence, sizeof sentence, "the error reply cannot be read: %s", coney_last_error());
    if (told.code.size == 0)
        told.code = slice_of(default_code);
    if (!told.message.data)
        told.message = slice_of(sentence);
    if (!cny_buffer_reserve(&buffer, told.code.size + told.message.size + 1))
        return cny_fail_memory();
    unescape(&told.code, &buffer);
    unescape(&told.message, &buffer);
    coney_status status = give(error, &told);
    cny_buffer_free(&buffer);
    return status;
}

/* The exception that the listener has thrown. */
static size_t thrown(const cny_java_error *found)
{
    size_t i = 0;
    while (i + 1 < found->count && cny_java_text_is(&found->exceptions[i].class_name, LISTENER_FAILED))
        i++;
    return i;
}

/* An exception without a message of its own tells that of its cause, as Java does when it is made with a cause only. */
static void say(char *message, size_t room, const cny_java_error *found, size_t from)
{
    size_t i = from, used = 0;
    while (i < found->count && !found->exceptions[i].message.data)
        i++;
    *message = '\0';
    if (i == found->count)
        return;
    const cny_java_exception *one = &found->exceptions[i];
    if (i > from) {
        cny_java_text_copy(message, room - 2, &one->class_name);
        used = strlen(message);
        memcpy(message + used, ": ", 3);
        used += 2;
    }
    cny_java_text_copy(message + used, room - used, &one->message);
}

static coney_status give_java(coney_remote_error **error, const coney_message *message)
{
    char code[MAX_CODE + 5] = UNKNOWN_CLASS, text[MAX_MESSAGE + 5] = "";
    cny_java_error found;
    cny_java_read_error(&found, message->body, message->size);
    size_t index = thrown(&found);
    if (index < found.count && found.exceptions[index].class_name.size > 0)
        cny_java_text_copy(code, sizeof code, &found.exceptions[index].class_name);
    say(text, sizeof text, &found, index);
    return give(error, &(told_error){.code = slice_of(code), .message = slice_of(text)});
}

coney_status coney_message_error(coney_remote_error **error, const coney_message *message)
{
    if (error)
        *error = NULL;
    if (!error || !message)
        return cny_fail(CONEY_E_INVALID, "error reply: the message or the place for the error is NULL");
    switch (form_of(message)) {
    case OWN_FORM: return give_json(error, message, read_own_member, "ERROR");
    case SPRING_JSON: return give_json(error, message, read_result_member, UNKNOWN_CLASS);
    case SPRING_JAVA: return give_java(error, message);
    case NO_ERROR: break;
    }
    return CONEY_OK;
}

void coney_remote_error_free(coney_remote_error *error)
{
    cny_free(error);
}

/* ---- making ---- */

static const coney_field own_fields[] = {
    CONEY_FIELD(coney_remote_error, code, CONEY_STRING, .optional = true),
    CONEY_FIELD(coney_remote_error, message, CONEY_STRING, .optional = true),
    CONEY_FIELD(coney_remote_error, retriable, CONEY_BOOL, .optional = true),
};
static const coney_type own_type = CONEY_TYPE(NULL, coney_remote_error, own_fields);

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
