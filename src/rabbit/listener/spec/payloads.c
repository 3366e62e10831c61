/* SPDX-License-Identifier: MIT */
/* What can be wrong with the handlers of a listener and with the converters and types of their payloads. Pure
 * functions, on any thread. */
#include "rabbit/listener/spec/checks.h"

#include "amqp/amqp.h"

#include <string.h>

/* ---- what follows from the options ---- */

const char *cny_handled_type(const coney_typed_handler *handler)
{
    const coney_type *type = handler->payload_type;
    bool is_object = type && type->form == CONEY_OBJECT_FORM;
    return !handler->type && is_object ? type->id : handler->type;
}

const coney_type *cny_payload_type(const coney_listener *listener, const coney_typed_handler *handler)
{
    if (handler->payload_type || handler->converter || !handler->type)
        return handler->payload_type;
    for (size_t i = 0; i < listener->types.count; i++) {
        const coney_type *type = listener->types.types[i];
        if (type->form == CONEY_OBJECT_FORM && strcmp(type->id, handler->type) == 0)
            return type;
    }
    return NULL;
}

/* Each message has a payload that its handler alone decides. */
static bool decide_handlers(const coney_listener *listener)
{
    bool all = !listener->on_message && !listener->on_batch;
    for (size_t i = 0; i < listener->handler_count; i++)
        all = all && (listener->handlers[i].converter || listener->handlers[i].payload_type);
    return all;
}

/* ---- handlers ---- */

bool cny_handlers_take_same(const coney_typed_handler *one, const coney_typed_handler *other)
{
    const char *type = cny_handled_type(one), *others = cny_handled_type(other);
    return type && others ? strcmp(type, others) == 0
                          : !type && !others && cny_types_same_name(one->payload_type, other->payload_type);
}

static coney_status check_payload_type(const coney_typed_handler *handler)
{
    if (handler->converter)
        return cny_fail(CONEY_E_INVALID, "there is a converter, too, and one of them makes the payload");
    return handler->type ? coney_type_check(handler->payload_type) : cny_type_check_named(handler->payload_type);
}

static coney_status check_handler(const coney_listener *listener, size_t index)
{
    const coney_typed_handler *one = &listener->handlers[index];
    bool has_type = one->type ? *one->type : one->payload_type != NULL;
    if (!has_type || !one->on_message)
        return cny_fail(CONEY_E_INVALID, "handlers[%zu] has no type or no on_message", index);
    if (one->payload_type && check_payload_type(one) != CONEY_OK)
        return cny_fail_in("handlers[%zu].payload_type", index);
    for (size_t k = 0; k < index; k++) {
        if (cny_handlers_take_same(one, &listener->handlers[k]))
            return cny_fail(CONEY_E_INVALID, "type '%.255s' has two handlers, %zu and %zu",
                            one->type ? one->type : one->payload_type->id, k, index);
    }
    return CONEY_OK;
}

/* ---- converters and types ---- */

static coney_status check_precedence(const coney_listener *listener)
{
    bool has_type = listener->type || listener->types.count > 0;
    for (size_t i = 0; i < listener->handler_count; i++)
        has_type = has_type || listener->handlers[i].payload_type;
    if ((unsigned)listener->type_precedence > CONEY_TYPE_ID)
        return cny_fail(CONEY_E_INVALID, "type_precedence is %d, which is no coney_type_precedence",
                        (int)listener->type_precedence);
    if (listener->type_precedence == CONEY_TYPE_INFERRED && listener->type && listener->types.count > 0)
        return cny_fail(CONEY_E_INVALID, "type is the type of each payload, so types would do nothing; set "
                                         "type_precedence to CONEY_TYPE_ID, or leave one of them out");
    if (listener->type_precedence == CONEY_TYPE_ID && (listener->converter || !has_type))
        return cny_fail(CONEY_E_INVALID, "type_precedence is CONEY_TYPE_ID, and %s; set type or types",
                        listener->converter ? "a converter makes the payloads" : "there is no type to choose");
    return CONEY_OK;
}

static coney_status check_types(const coney_listener *listener)
{
    const coney_types *types = &listener->types;
    if (listener->type && coney_type_check(listener->type) != CONEY_OK)
        return cny_fail_in("type");
    if (cny_types_check(types) != CONEY_OK || check_precedence(listener) != CONEY_OK)
        return CONEY_E_INVALID;
    const char *option = listener->type ? "type" : types->count > 0 ? "types" : NULL;
    if (option && listener->converter)
        return cny_fail(CONEY_E_INVALID, "converter and %s are set, of which one makes the payload", option);
    if (option && decide_handlers(listener))
        return cny_fail(CONEY_E_INVALID, "%s would do nothing: each handler has a payload_type or converter of its own",
                        option);
    for (size_t i = 0; listener->type && i < types->count; i++) {
        if (types->types[i] != listener->type && cny_types_same_name(types->types[i], listener->type))
            return cny_fail(CONEY_E_INVALID,
                            "type and types.types[%zu] are two types that messages name the same, '%s'", i,
                            listener->type->id ? listener->type->id : "");
    }
    return CONEY_OK;
}

/* No handler may get a message unconverted, because that message would not have been validated. */
static coney_status check_validator(const coney_listener *listener)
{
    bool is_converted = listener->converter || listener->type || listener->types.count > 0 || decide_handlers(listener);
    return !listener->validator || is_converted
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID, "validator checks what a converter has made; converter is NULL, and there "
                                           "is no type");
}

coney_status cny_check_handlers(const coney_listener *listener)
{
    if (listener->on_batch && (listener->on_message || listener->handler_count > 0))
        return cny_fail(CONEY_E_INVALID, "on_batch goes with no other handler, neither on_message nor handlers");
    if (!listener->on_message && !listener->on_batch && listener->handler_count == 0)
        return cny_fail(CONEY_E_INVALID, "on_message is NULL, and there is no on_batch and no handlers");
    if (listener->handler_count > 0 && !listener->handlers)
        return cny_fail(CONEY_E_INVALID, "handlers is NULL, handler_count %zu", listener->handler_count);
    for (size_t i = 0; i < listener->handler_count; i++) {
        if (check_handler(listener, i) != CONEY_OK)
            return CONEY_E_INVALID;
    }
    coney_status status = check_types(listener);
    return status == CONEY_OK ? check_validator(listener) : status;
}
