/* SPDX-License-Identifier: MIT */
/* What a handler gets of a message: made before the handler is called if a converter or a type is to make it, or else
 * when somebody first asks, on any thread. Knows no delivery and no listener. */
#include "rabbit/listener/handling/payload.h"

#include <coney/amqp/json.h>

/* ---- before the handler ---- */

/* What Coney's own converters make is known. */
static coney_content content_of(const coney_converter *converter, void *object)
{
    if (converter == coney_json_converter())
        return (coney_content){.kind = CONEY_CONTENT_JSON, .json = object};
    if (converter == coney_text_converter())
        return (coney_content){.kind = CONEY_CONTENT_TEXT, .text = object};
    if (converter == coney_bytes_converter())
        return (coney_content){.kind = CONEY_CONTENT_BYTES, .bytes = *(const coney_bytes *)object};
    return (coney_content){0};
}

coney_status cny_payload_make(cny_payload *payload, coney_message *message, const coney_converter *converter,
                              const coney_type *type)
{
    void *object = NULL;
    payload->is_by_content = !converter && !type;
    if (payload->is_by_content)
        return CONEY_OK;
    coney_status status =
        converter ? cny_from_message(converter, &object, message) : coney_message_object(&object, message, type);
    if (status != CONEY_OK || !object)
        return status;
    payload->object = object;
    payload->converter = converter;
    payload->content = converter ? content_of(converter, object)
                                 : (coney_content){.kind = CONEY_CONTENT_OBJECT, .object = object, .type = type};
    return CONEY_OK;
}

void cny_payload_clear(cny_payload *payload)
{
    if (payload->object && payload->converter)
        payload->converter->free_object(payload->object);
    else if (payload->object)
        coney_object_free(payload->object);
    coney_content_free(atomic_load_explicit(&payload->asked, memory_order_relaxed));
    *payload = (cny_payload){0};
}

size_t cny_payload_bytes(const cny_payload *payload, size_t message_size)
{
    if (payload->content.kind == CONEY_CONTENT_OBJECT)
        return cny_object_weight(payload->object, message_size);
    return payload->content.kind == CONEY_CONTENT_JSON ? CNY_JSON_GROWTH * message_size : 0;
}

/* ---- when somebody asks ---- */

/* Threads may ask at the same time. The one that is first shows the others what it has made. */
static coney_status make_content(const coney_content **content, cny_payload *payload, coney_message *message)
{
    coney_content *made, *first = NULL;
    coney_status status = coney_message_content(&made, message, NULL);
    if (status != CONEY_OK)
        return status;
    if (!atomic_compare_exchange_strong(&payload->asked, &first, made))
        coney_content_free(made);
    *content = first ? first : made;
    return CONEY_OK;
}

coney_status cny_payload_content(const coney_content **content, cny_payload *payload, coney_message *message)
{
    *content = payload->content.kind ? &payload->content : atomic_load(&payload->asked);
    if (*content)
        return CONEY_OK;
    if (payload->is_by_content)
        return make_content(content, payload, message);
    if (payload->object)
        return cny_fail(CONEY_E_CONVERSION, "its payload is of converter '%s'; only coney_delivery_payload() gives it",
                        payload->converter->name);
    return cny_fail(CONEY_E_STATE, "there is no payload: it was not converted, or its converter has made nothing");
}
