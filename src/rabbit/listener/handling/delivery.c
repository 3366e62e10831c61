/* SPDX-License-Identifier: MIT */
/* The contents of a delivery: the message as processors left it, the object that a converter has made of it, and the
 * reason of its failure. Runs on the thread that has the delivery: its worker, then the thread that settles it. */
#include "rabbit/listener/handling/delivery.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cny_delivery_let_go(coney_delivery *delivery)
{
    if (atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1)
        return;
    cny_payload_clear(&delivery->payload);
    coney_message *made = delivery->message;
    delivery->message = coney_message_ref(cny_original(delivery));
    coney_message_unref(made);
}

size_t cny_delivery_made_bytes(const coney_delivery *delivery)
{
    const coney_message *message = delivery->message;
    size_t bytes = 0;
    if (!message) /* a processor has discarded it */
        return 0;
    if (delivery->fragment_number > 1) /* the first fragment has counted the memory that they share */
        bytes = message->size;
    else if (delivery->fragment_number == 1 || message != cny_original(delivery))
        bytes = cny_message_weight(message);
    return bytes + cny_payload_bytes(&delivery->payload, message->size);
}

coney_status cny_delivery_check_process(const coney_delivery *delivery)
{
    return delivery->source ? cny_factory_check_process(delivery->source->handling->context->factory) : CONEY_OK;
}

/* ---- for the program ---- */

coney_message *coney_delivery_message(const coney_delivery *delivery)
{
    return delivery ? delivery->message : NULL;
}

const char *coney_delivery_queue(const coney_delivery *delivery)
{
    return delivery ? delivery->source->handling->spec->options.queue : NULL;
}

const char *coney_delivery_listener_id(const coney_delivery *delivery)
{
    return delivery ? delivery->source->handling->spec->options.id : NULL;
}

const char *coney_delivery_consumer_tag(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return NULL;
    return cny_delivery_check_process(delivery) == CONEY_OK ? cny_channel_consumer_tag(delivery->arrival->channel) : "";
}

int coney_delivery_attempt(const coney_delivery *delivery)
{
    return delivery ? delivery->earlier_attempts + delivery->tries + 1 : 0;
}

bool coney_delivery_is_last_in_batch(const coney_delivery *delivery)
{
    return delivery && delivery->is_last_fragment;
}

/* ---- the payload, for the program ---- */

/* Nobody gets NULL in silence. That a message was not converted is told where it is decided. */
static void tell_missing(const coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    bool is_told = coney_last_error_details()->status == CONEY_E_STATE;
    cny_fail_in("listener '%s': message '%s'", handling->spec->options.id, cny_id_of(cny_original(delivery)));
    if (is_told)
        return;
    cny_error *error = cny_error_capture(); /* the log sink may be the program's, and fail at something else */
    cny_log_limited(&handling->log, CNY_LOG_PAYLOAD, CONEY_LOG_ERROR, cny_original(delivery),
                    "%s (asked for by its handler)", cny_error_view(error)->text);
    cny_error_raise(error);
    cny_error_unref(error);
}

static const coney_content *content_of(const coney_delivery *delivery)
{
    const coney_content *content = NULL;
    if (!delivery)
        cny_fail(CONEY_E_INVALID, "the delivery is NULL");
    if (!delivery || cny_delivery_check_process(delivery) != CONEY_OK)
        return NULL;
    cny_payload *payload = (cny_payload *)(uintptr_t)&delivery->payload; /* made when it is first asked for */
    if (cny_payload_content(&content, payload, delivery->message) != CONEY_OK)
        tell_missing(delivery);
    return content;
}

static const coney_content *content_as(const coney_delivery *delivery, coney_content_kind kind)
{
    static const char *const names[] = {"", "a text", "JSON", "bytes", "an object"};
    const coney_content *content = content_of(delivery);
    if (!content || content->kind == kind)
        return content;
    const char *given = content->type ? content->type->id : coney_message_properties(delivery->message)->content_type;
    cny_fail(CONEY_E_CONVERSION,
             "its payload is %s (%s '%.255s'), not %s; converter and type of the listener decide, and "
             "coney_delivery_content() tells",
             names[content->kind], content->type ? "type" : "content type", given ? given : "", names[kind]);
    tell_missing(delivery);
    return NULL;
}

static const void *payload_by_content(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    const coney_content *content = content_of(delivery);
    if (!content)
        return NULL;
    switch (content->kind) {
    case CONEY_CONTENT_TEXT: return content->text;
    case CONEY_CONTENT_JSON: return content->json;
    case CONEY_CONTENT_BYTES: return &content->bytes;
    case CONEY_CONTENT_OBJECT: break;
    }
    return content->object;
}

const void *coney_delivery_payload(const coney_delivery *delivery)
{
    return delivery && delivery->payload.object ? delivery->payload.object : payload_by_content(delivery);
}

const coney_type *coney_delivery_type(const coney_delivery *delivery)
{
    return delivery ? delivery->payload.content.type : NULL;
}

const coney_content *coney_delivery_content(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    return content_of(delivery);
}

json_t *coney_delivery_json(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    const coney_content *content = content_as(delivery, CONEY_CONTENT_JSON);
    return content ? content->json : NULL;
}

const char *coney_delivery_text(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    const coney_content *content = content_as(delivery, CONEY_CONTENT_TEXT);
    return content ? content->text : NULL;
}

/* ---- objects ---- */

/* The type of the elements of a list or map, if they are structs. */
static const coney_type *element_type(const coney_type *type)
{
    return type->element.kind == CONEY_STRUCT ? type->element.of : NULL;
}

static bool is_alike(const coney_type *type, const coney_type *other)
{
    return type == other ||
           (type && other && type->id && other->id && strcmp(type->id, other->id) == 0 && type->form == other->form &&
            type->size == other->size && type->field_count == other->field_count);
}

/* A static table in a header is another table in each file. All lists have the id of a Java class, such as
 * java.util.ArrayList, so their elements tell them apart. */
static bool is_same(const coney_type *type, const coney_type *other)
{
    const coney_field *element = &type->element, *others = &other->element;
    return type == other ||
           (is_alike(type, other) && element->kind == others->kind && element->shape == others->shape &&
            element->size == others->size && is_alike(element_type(type), element_type(other)));
}

static void describe_type(char *to, size_t size, const coney_type *type)
{
    const coney_type *element = element_type(type);
    int length = snprintf(to, size, "'%.255s' of %zu bytes", type->id ? type->id : "", type->size);
    if (type->form != CONEY_OBJECT_FORM)
        snprintf(to + length, size - (size_t)length, " with elements '%.255s' of %zu bytes",
                 element && element->id ? element->id : "", type->element.size);
}

static void fail_other_type(const coney_type *given, const coney_type *wanted)
{
    enum { MOST = 700 }; /* two ids and two sizes */
    char payload[MOST], asked[MOST];
    describe_type(payload, sizeof payload, given);
    describe_type(asked, sizeof asked, wanted);
    cny_fail(CONEY_E_CONVERSION, "its payload is an object of type %s, not %s", payload, asked);
}

const void *coney_delivery_object(const coney_delivery *delivery, const coney_type *type)
{
    CNY_DISABLE_CANCEL();
    if (!type) {
        cny_fail(CONEY_E_INVALID, "the type is NULL");
        return NULL;
    }
    const coney_content *content = content_as(delivery, CONEY_CONTENT_OBJECT);
    if (!content || is_same(content->type, type))
        return content ? content->object : NULL;
    fail_other_type(content->type, type);
    tell_missing(delivery);
    return NULL;
}

/* ---- failures ---- */

const char *cny_failure_text(const coney_delivery *delivery)
{
    return delivery->failure ? cny_error_view(delivery->failure)->text : "the handler does not say why";
}

int64_t coney_delivery_time_left_ms(const coney_delivery *delivery)
{
    return delivery ? cny_request_time_left(delivery->arrival->message) : -1;
}

void cny_delivery_say(coney_delivery *delivery, cny_error *failure)
{
    cny_error_unref(atomic_exchange(&delivery->said, failure));
}

void cny_delivery_adopt_failure(coney_delivery *delivery)
{
    cny_error *said = atomic_exchange(&delivery->said, NULL);
    if (!said)
        return;
    cny_error_unref(delivery->failure);
    delivery->failure = said;
}

coney_outcome coney_delivery_fail(coney_delivery *delivery, coney_outcome outcome, const char *format, ...)
{
    CNY_DISABLE_CANCEL();
    char text[1024];
    if (!delivery || !format)
        return outcome;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cny_delivery_say(delivery, cny_error_new(CONEY_E_HANDLER, 0, "%s", text));
    return outcome;
}
