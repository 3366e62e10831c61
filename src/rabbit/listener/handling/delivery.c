/* SPDX-License-Identifier: MIT */
/* The contents of a delivery: the message as processors left it, the object that a converter has made of it, and the
 * reason of its failure. Runs on the thread that has the delivery: its worker, then the thread that settles it. */
#include "rabbit/listener/handling/delivery.h"

#include <coney/amqp/json.h>

#include <stdarg.h>
#include <stdio.h>

#define JSON_GROWTH 32 /* bytes in memory for one of an ordinary document */

void cny_delivery_release_payload(coney_delivery *delivery)
{
    if (delivery->payload)
        delivery->payload_converter->free_object(delivery->payload);
    delivery->payload = NULL;
}

void cny_delivery_let_go(coney_delivery *delivery)
{
    if (atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1)
        return;
    cny_delivery_release_payload(delivery);
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
    bool is_json = delivery->payload && delivery->payload_converter == coney_json_converter();
    return bytes + (is_json ? JSON_GROWTH * message->size : 0);
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

const void *coney_delivery_payload(const coney_delivery *delivery)
{
    return delivery ? delivery->payload : NULL;
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

const char *cny_failure_text(const coney_delivery *delivery)
{
    return delivery->failure ? cny_error_view(delivery->failure)->text : "the handler does not say why";
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
