/* SPDX-License-Identifier: MIT */
/* The last error of each thread, and errors that travel between threads. Any thread. */
#undef _GNU_SOURCE /* for the strerror_r() of POSIX: only glibc has the other one */
#define _POSIX_C_SOURCE 200809L

#include "base/base.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define MAX_TEXT 1024
#define MAX_SHORT_TEXT 256 /* AMQP's, with the NUL */

struct cny_error {
    atomic_uint refs;
    coney_error view;
    bool is_suspicion;
    char text[];
};

static _Thread_local coney_error last = {.text = ""};
static _Thread_local bool last_is_suspicion;
static _Thread_local char last_text[MAX_TEXT];
static _Thread_local char last_return[3][MAX_SHORT_TEXT];
static _Thread_local char last_remote_code[MAX_SHORT_TEXT];
static _Thread_local char last_remote_message[MAX_TEXT];

const char *coney_status_name(coney_status status)
{
    switch (status) {
    case CONEY_OK: return "OK";
    case CONEY_E_INVALID: return "INVALID";
    case CONEY_E_CONVERSION: return "CONVERSION";
    case CONEY_E_STATE: return "STATE";
    case CONEY_E_CLOSED: return "CLOSED";
    case CONEY_E_CANCELLED: return "CANCELLED";
    case CONEY_E_NO_MEMORY: return "NO_MEMORY";
    case CONEY_E_SYSTEM: return "SYSTEM";
    case CONEY_E_LIMIT: return "LIMIT";
    case CONEY_E_CIRCUIT_OPEN: return "CIRCUIT_OPEN";
    case CONEY_E_CONNECT: return "CONNECT";
    case CONEY_E_LOST: return "LOST";
    case CONEY_E_TIMEOUT: return "TIMEOUT";
    case CONEY_E_PROTOCOL: return "PROTOCOL";
    case CONEY_E_BLOCKED: return "BLOCKED";
    case CONEY_E_STALE: return "STALE";
    case CONEY_E_ACCESS_REFUSED: return "ACCESS_REFUSED";
    case CONEY_E_NOT_FOUND: return "NOT_FOUND";
    case CONEY_E_RESOURCE_LOCKED: return "RESOURCE_LOCKED";
    case CONEY_E_PRECONDITION_FAILED: return "PRECONDITION_FAILED";
    case CONEY_E_NOT_ALLOWED: return "NOT_ALLOWED";
    case CONEY_E_RETURNED: return "RETURNED";
    case CONEY_E_NACKED: return "NACKED";
    case CONEY_E_BROKER: return "BROKER";
    case CONEY_E_HANDLER: return "HANDLER";
    case CONEY_E_REMOTE_ERROR: return "REMOTE_ERROR";
    }
    return "UNKNOWN";
}

static bool is_retriable(coney_status status)
{
    switch (status) {
    case CONEY_E_NO_MEMORY:
    case CONEY_E_SYSTEM:
    case CONEY_E_LIMIT:
    case CONEY_E_CIRCUIT_OPEN:
    case CONEY_E_CONNECT:
    case CONEY_E_LOST:
    case CONEY_E_TIMEOUT:
    case CONEY_E_BLOCKED:
    case CONEY_E_RESOURCE_LOCKED:
    case CONEY_E_NACKED:
    case CONEY_E_HANDLER: return true;
    default: return false;
    }
}

static bool is_fatal(coney_status status)
{
    switch (status) {
    case CONEY_E_INVALID:
    case CONEY_E_CONVERSION:
    case CONEY_E_CLOSED:
    case CONEY_E_ACCESS_REFUSED:
    case CONEY_E_PRECONDITION_FAILED:
    case CONEY_E_NOT_ALLOWED: return true;
    default: return false;
    }
}

const coney_error *coney_last_error_details(void)
{
    return &last;
}

const char *coney_last_error(void)
{
    return last.text;
}

coney_status coney_fail(coney_status status, const char *format, ...)
{
    char text[MAX_TEXT];
    if (!format)
        return cny_fail(status ? status : CONEY_E_INVALID, "no reason was given");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return cny_fail(status ? status : CONEY_E_INVALID, "%s", text);
}

static coney_error describe(coney_status status, int broker_code, const char *text)
{
    return (coney_error){
        .status = status,
        .broker_code = broker_code,
        .text = text,
        .retriable = is_retriable(status),
        .fatal = is_fatal(status),
    };
}

static coney_status record(coney_status status, int broker_code, const char *format, va_list arguments)
{
    char text[MAX_TEXT]; /* the arguments may point into last_text */
    vsnprintf(text, sizeof text, format, arguments);
    cny_text_make_safe(text);
    memcpy(last_text, text, strlen(text) + 1);
    last = describe(status, broker_code, last_text);
    last_is_suspicion = false;
    return status;
}

coney_status cny_fail(coney_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record(status, 0, format, arguments);
    va_end(arguments);
    return status;
}

coney_status cny_fail_code(coney_status status, int broker_code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    record(status, broker_code, format, arguments);
    va_end(arguments);
    return status;
}

coney_status cny_fail_memory(void)
{
    return cny_fail(CONEY_E_NO_MEMORY, "out of memory");
}

/* Of an error that is recorded again. Texts that are this thread's own stay where they are. */
static const char *keep(char *room, size_t size, const char *text)
{
    if (!text || text == room)
        return text;
    snprintf(room, size, "%s", text);
    return room;
}

/* All of an error but its sentence. */
static void keep_details(const coney_error *error)
{
    last.retriable = error->retriable;
    last.reply_text = keep(last_return[0], MAX_SHORT_TEXT, error->reply_text);
    last.exchange = keep(last_return[1], MAX_SHORT_TEXT, error->exchange);
    last.routing_key = keep(last_return[2], MAX_SHORT_TEXT, error->routing_key);
    last.remote_code = keep(last_remote_code, MAX_SHORT_TEXT, error->remote_code);
    last.remote_message = keep(last_remote_message, MAX_TEXT, error->remote_message);
}

coney_status cny_fail_in(const char *format, ...)
{
    char prefix[MAX_TEXT / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    const coney_error before = last;
    bool is_suspicion = last_is_suspicion;
    cny_fail_code(last.status, last.broker_code, "%s: %s", prefix, last.text);
    keep_details(&before);
    last_is_suspicion = is_suspicion;
    return last.status;
}

coney_status cny_fail_remote(const char *code, const char *message, bool retriable)
{
    char safe_code[MAX_SHORT_TEXT], safe_message[MAX_TEXT];
    snprintf(safe_code, sizeof safe_code, "%s", code);
    snprintf(safe_message, sizeof safe_message, "%s", message);
    cny_text_make_safe(safe_code);
    cny_text_make_safe(safe_message);
    cny_fail(CONEY_E_REMOTE_ERROR, "the other side answered: %s%s%s", safe_code, *safe_message ? ": " : "",
             safe_message);
    keep_details(&(coney_error){.retriable = retriable, .remote_code = safe_code, .remote_message = safe_message});
    return CONEY_E_REMOTE_ERROR;
}

void cny_forget_failure(void)
{
    cny_fail(CONEY_OK, "%s", "");
}

const char *cny_errno_text(int number)
{
    static _Thread_local char text[128];
    if (strerror_r(number, text, sizeof text) != 0)
        snprintf(text, sizeof text, "error %d", number);
    return text;
}

static cny_error no_memory = {
    .refs = 1,
    .view = {.status = CONEY_E_NO_MEMORY, .text = "out of memory", .retriable = true},
};

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static char *put(char **at, const char *text)
{
    size_t size = size_of(text);
    if (size == 0)
        return NULL;
    char *copy = memcpy(*at, text, size);
    *at += size;
    return copy;
}

static cny_error *copy_of(coney_error view)
{
    size_t size = size_of(view.text) + size_of(view.reply_text) + size_of(view.exchange) + size_of(view.routing_key) +
                  size_of(view.remote_code) + size_of(view.remote_message);
    cny_error *error = cny_alloc(sizeof *error + size);
    if (!error)
        return &no_memory;
    atomic_init(&error->refs, 1);
    char *at = error->text;
    char *own = put(&at, view.text);
    cny_text_make_safe(own);
    view.text = own;
    view.reply_text = put(&at, view.reply_text);
    view.exchange = put(&at, view.exchange);
    view.routing_key = put(&at, view.routing_key);
    view.remote_code = put(&at, view.remote_code);
    view.remote_message = put(&at, view.remote_message);
    error->view = view;
    return error;
}

cny_error *cny_error_new(coney_status status, int broker_code, const char *format, ...)
{
    char text[MAX_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return copy_of(describe(status, broker_code, text));
}

cny_error *cny_error_new_return(int broker_code, const char *reply_text, const char *exchange, const char *routing_key)
{
    char text[MAX_TEXT];
    bool is_default = !*exchange;
    snprintf(text, sizeof text,
             "%d %s: no binding of %s%s%s takes the message (routing key '%s')%s; if such messages may be dropped, set "
             "drop_unroutable",
             broker_code, reply_text, is_default ? "the default exchange" : "exchange '", exchange,
             is_default ? "" : "'", routing_key, is_default ? ": there is no queue of that name" : "");
    coney_error view = describe(CONEY_E_RETURNED, broker_code, text);
    view.reply_text = reply_text;
    view.exchange = exchange;
    view.routing_key = routing_key;
    return copy_of(view);
}

static cny_error *mark(cny_error *made, bool is_suspicion)
{
    if (made != &no_memory)
        made->is_suspicion = is_suspicion;
    return made;
}

cny_error *cny_error_capture(void)
{
    return mark(copy_of(last), last_is_suspicion);
}

cny_error *cny_error_new_suspicion(coney_status status, int broker_code, const char *text)
{
    return mark(copy_of(describe(status, broker_code, text)), true);
}

bool cny_last_is_suspicion(void)
{
    return last_is_suspicion;
}

cny_error *cny_error_ref(cny_error *error)
{
    if (error && error != &no_memory)
        atomic_fetch_add_explicit(&error->refs, 1, memory_order_relaxed);
    return error;
}

void cny_error_unref(cny_error *error)
{
    if (!error || error == &no_memory)
        return;
    if (atomic_fetch_sub_explicit(&error->refs, 1, memory_order_acq_rel) == 1)
        cny_free(error);
}

coney_status cny_error_raise(const cny_error *error)
{
    if (!error)
        return CONEY_OK;
    cny_fail_code(error->view.status, error->view.broker_code, "%s", error->view.text);
    keep_details(&error->view);
    last_is_suspicion = error->is_suspicion;
    return last.status;
}

const coney_error *cny_error_view(const cny_error *error)
{
    return error ? &error->view : NULL;
}
