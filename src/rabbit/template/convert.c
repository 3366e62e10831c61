/* SPDX-License-Identifier: MIT */
/* Sends of objects: makes a message of the object, and sends the message. On the sender's thread. Knows nothing of
 * channels. (Spring: RabbitTemplate.convertAndSend.) */
#include "rabbit/template/template.h"

#include <coney/amqp/json.h>
#include <coney/rabbit/typed.h>

static const coney_properties *properties_of(const coney_send_options *options)
{
    return options ? options->properties : NULL;
}

/* Sends the message that a conversion to `kind` has given, and gives the message back. */
static coney_status send_made(coney_template *sender, const char *routing_key, coney_status made, const char *kind,
                              coney_message *message, const coney_send_options *options)
{
    if (made != CONEY_OK)
        return cny_fail_in("convert to %s", kind);
    coney_send_options rest = options ? *options : (coney_send_options){0};
    rest.properties = NULL; /* the message has them */
    coney_status status = coney_template_send(sender, routing_key, message, &rest);
    coney_message_unref(message);
    return status;
}

static coney_status send_by(coney_template *sender, const char *routing_key, const coney_converter *converter,
                            const void *object, const coney_send_options *options)
{
    coney_message *message = NULL;
    coney_status made = cny_to_message(converter, &message, object, properties_of(options));
    return send_made(sender, routing_key, made, converter->name, message, options);
}

static coney_status fail_null(const char *what)
{
    return cny_fail(CONEY_E_INVALID, "send: the %s is NULL", what);
}

coney_status coney_template_convert_and_send(coney_template *sender, const char *routing_key, const void *object,
                                             const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    return sender ? send_by(sender, routing_key, sender->options.converter, object, options) : fail_null("template");
}

coney_status coney_template_send_object(coney_template *sender, const char *routing_key, const coney_type *type,
                                        const void *object, const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender)
        return fail_null("template");
    coney_message *message = NULL;
    coney_status made = coney_message_new_object(&message, type, object, properties_of(options));
    return send_made(sender, routing_key, made, "json", message, options);
}

coney_status coney_template_send_json(coney_template *sender, const char *routing_key, const json_t *json,
                                      const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    return sender ? send_by(sender, routing_key, coney_json_converter(), json, options) : fail_null("template");
}

coney_status coney_template_send_text(coney_template *sender, const char *routing_key, const char *text,
                                      const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !text)
        return fail_null(sender ? "text" : "template");
    return send_by(sender, routing_key, coney_text_converter(), text, options);
}

coney_status coney_template_send_bytes(coney_template *sender, const char *routing_key, const void *data, size_t size,
                                       const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    const coney_bytes bytes = {.data = data, .size = size};
    return sender ? send_by(sender, routing_key, coney_bytes_converter(), &bytes, options) : fail_null("template");
}
