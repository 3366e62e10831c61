/* SPDX-License-Identifier: MIT */
/* Replies that a handler leaves with its delivery, to be sent before the acknowledgement: made of what the handler has.
 * On the thread that has the delivery. Knows nothing of how replies are sent. */
#include "rabbit/listener/handling/delivery.h"

#include <coney/amqp/json.h>
#include <coney/amqp/remote_error.h>
#include <coney/rabbit/delivery.h>

#include <stdarg.h>
#include <stdio.h>

void coney_delivery_set_reply(coney_delivery *delivery, coney_message *reply)
{
    CNY_DISABLE_CANCEL();
    coney_message_unref(delivery ? atomic_exchange(&delivery->reply, reply) : reply);
}

static coney_status fail_null(const char *what)
{
    return cny_fail(CONEY_E_INVALID, "set reply: the %s is NULL", what);
}

/* Takes the message that was made. */
static coney_status leave(coney_delivery *delivery, coney_status made, coney_message *reply)
{
    if (made != CONEY_OK)
        return cny_fail_in("set reply");
    coney_delivery_set_reply(delivery, reply);
    return CONEY_OK;
}

static coney_status leave_by(coney_delivery *delivery, const coney_converter *converter, const void *object)
{
    coney_message *reply = NULL;
    coney_status made = cny_to_message(converter, &reply, object, NULL);
    return leave(delivery, made, reply);
}

coney_status coney_delivery_set_reply_object(coney_delivery *delivery, const coney_type *type, const void *object)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return fail_null("delivery");
    coney_message *reply = NULL;
    coney_status made = coney_message_new_object(&reply, type, object, NULL);
    return leave(delivery, made, reply);
}

coney_status coney_delivery_set_reply_json(coney_delivery *delivery, const json_t *json)
{
    CNY_DISABLE_CANCEL();
    return delivery ? leave_by(delivery, coney_json_converter(), json) : fail_null("delivery");
}

coney_status coney_delivery_set_reply_text(coney_delivery *delivery, const char *text)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || !text)
        return fail_null(delivery ? "text" : "delivery");
    return leave_by(delivery, coney_text_converter(), text);
}

coney_status coney_delivery_set_reply_bytes(coney_delivery *delivery, const void *data, size_t size)
{
    CNY_DISABLE_CANCEL();
    const coney_bytes bytes = {.data = data, .size = size};
    return delivery ? leave_by(delivery, coney_bytes_converter(), &bytes) : fail_null("delivery");
}

coney_status coney_delivery_set_reply_error(coney_delivery *delivery, const char *code, const char *format, ...)
{
    CNY_DISABLE_CANCEL();
    char text[1024] = "";
    coney_message *reply = NULL;
    va_list arguments;
    if (!delivery)
        return fail_null("delivery");
    va_start(arguments, format);
    if (format)
        vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    coney_status made = coney_message_new_error(&reply, &(coney_remote_error){.code = code, .message = text});
    return leave(delivery, made, reply);
}
