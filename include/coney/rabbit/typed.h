/* SPDX-License-Identifier: MIT */
/* Sending and receiving objects whose kind the compiler checks. (Spring: convertAndSend and receiveAndConvert, which
 * have generic types.)
 *
 * coney_template_convert_and_send() takes any pointer, and its converter trusts the pointer. Each function here takes
 * one kind of object, whatever converter the template has. CONEY_TYPED makes such functions for a struct. Any thread.
 *
 * For the other ways to send, make the message first, by coney_message_new_object(), coney_message_new_json() or
 * coney_message_new(), and send it by coney_template_send_async(), coney_scope_send() and so on. */
#ifndef CONEY_RABBIT_TYPED_H
#define CONEY_RABBIT_TYPED_H

#include <coney/amqp/content.h>
#include <coney/rabbit/delivery.h>
#include <coney/rabbit/receive.h>
#include <coney/rabbit/request.h>
#include <coney/rabbit/template.h>

CONEY_BEGIN

/* ---- sending ---- */

/* These make a message of the object, which is borrowed, and send the message like coney_template_send(). The
 * properties in the options may be NULL; their content type, content encoding and headers win over those that are made.
 * Statuses as coney_template_send(), and
 * - CONEY_E_CONVERSION: the object cannot be written; nothing was sent.
 * - CONEY_E_INVALID: the object or its type is NULL, or the type is wrong; nothing was sent. */

/* Sends a struct, coney_list or coney_map as JSON, with Spring's type headers, as coney_message_new_object() says. */
CONEY_API coney_status coney_template_send_object(coney_template *sender, const char *routing_key,
                                                  const coney_type *type, const void *object,
                                                  const coney_send_options *options);

/* Sends JSON, as coney_json_converter() says, without type headers. */
CONEY_API coney_status coney_template_send_json(coney_template *sender, const char *routing_key, const json_t *json,
                                                const coney_send_options *options);

/* Sends a text in UTF-8 as text/plain, as coney_text_converter() says. */
CONEY_API coney_status coney_template_send_text(coney_template *sender, const char *routing_key, const char *text,
                                                const coney_send_options *options);

/* Sends bytes as application/octet-stream. data may be NULL if size is 0. */
CONEY_API coney_status coney_template_send_bytes(coney_template *sender, const char *routing_key, const void *data,
                                                 size_t size, const coney_send_options *options);

/* ---- receiving ---- */

/* These take a message like coney_template_receive(), and convert it before it is acknowledged. Without a message the
 * result is NULL and the status CONEY_OK. A program that needs the message's properties, too, calls
 * coney_template_receive() and then coney_message_object() or coney_message_content(); the message has been
 * acknowledged then, so a message that cannot be converted is not dead-lettered. Statuses as coney_template_receive(),
 * and
 * - CONEY_E_CONVERSION: the message cannot be converted, and is rejected.
 * - CONEY_E_INVALID: an argument is NULL, or the type is wrong; no message was taken. */

/* Reads the message as this type. Its type headers are not looked at, because the program knows what it expects.
 * Gives *object, for coney_object_free(). (Spring: receiveAndConvert with a ParameterizedTypeReference.) */
CONEY_API coney_status coney_template_receive_object(coney_template *sender, const char *queue, const coney_type *type,
                                                     void **object, int timeout_ms);

/* Reads the message as what it says it is: a struct, if it names one of the template's `types`, else text, JSON or
 * bytes by its content type. coney_message_content() has the rules. Gives *content, which tells its kind, for
 * coney_content_free(). If the template has types and the message names another type, that is CONEY_E_CONVERSION. */
CONEY_API coney_status coney_template_receive_content(coney_template *sender, const char *queue,
                                                      coney_content **content, int timeout_ms);

/* ---- requests ---- */

/* These make a request of the object, send the request like coney_template_send_and_receive() (request.h), and convert
 * the reply. After a failure the result is NULL. Statuses as coney_template_send_and_receive(), and
 * - CONEY_E_CONVERSION: the object cannot be written (nothing was sent), or the reply is something else.
 * - CONEY_E_INVALID: an argument is NULL, or a type is wrong; nothing was sent. */

/* Sends an object and reads the reply as result_type, whatever its type headers say. Gives *result, for
 * coney_object_free(). (Spring: convertSendAndReceiveAsType.) */
CONEY_API coney_status coney_template_request_object(coney_template *sender, const char *routing_key,
                                                     const coney_type *type, const void *object,
                                                     const coney_type *result_type, void **result,
                                                     const coney_request_options *options);

/* Sends JSON and reads the reply as JSON. Gives *result, for json_decref(). */
CONEY_API coney_status coney_template_request_json(coney_template *sender, json_t **result, const char *routing_key,
                                                   const json_t *json, const coney_request_options *options);

CONEY_END

/* ---- functions for one struct ---- */

/* Defines functions for a struct and its type, so that a pointer to anything else does not compile. With
 *
 *     CONEY_TYPED(order, struct order, order_type);
 *
 * in a file or header, after `order_type` was declared, these are defined as static inline functions:
 *
 *     coney_status order_send(coney_template *sender, const char *routing_key, const struct order *object,
 *                             const coney_send_options *options);
 *     coney_status order_receive(coney_template *sender, const char *queue, struct order **object, int timeout_ms);
 *     coney_status order_to_message(coney_message **message, const struct order *object,
 *                                   const coney_properties *properties);
 *     coney_status order_from_message(struct order **object, coney_message *message);
 *     const struct order *order_of(const coney_delivery *delivery);
 *
 * They are coney_template_send_object(), coney_template_receive_object(), coney_message_new_object(),
 * coney_message_object() and coney_delivery_object(), with their statuses; objects that they give are for
 * coney_object_free(), but the last one is a view. A type whose size is not that of the struct is CONEY_E_CONVERSION.
 * Lists and maps have the structs coney_list and coney_map. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type in parentheses declares nothing */
#define CONEY_TYPED(name_, struct_, type_)                                                                             \
    CONEY_UNUSED_ static inline coney_status name_##_send(coney_template *sender_, const char *routing_key_,           \
                                                          const struct_ *object_, const coney_send_options *options_)  \
    {                                                                                                                  \
        return CONEY_DESCRIBES_(type_, struct_)                                                                        \
                   ? coney_template_send_object(sender_, routing_key_, &(type_), object_, options_)                    \
                   : CONEY_FAIL_TYPED_(name_, struct_, type_);                                                         \
    }                                                                                                                  \
    CONEY_UNUSED_ static inline coney_status name_##_receive(coney_template *sender_, const char *queue_,              \
                                                             struct_ **object_, int timeout_ms_)                       \
    {                                                                                                                  \
        void *made_ = NULL;                                                                                            \
        coney_status status_ =                                                                                         \
            CONEY_DESCRIBES_(type_, struct_)                                                                           \
                ? coney_template_receive_object(sender_, queue_, &(type_), object_ ? &made_ : NULL, timeout_ms_)       \
                : CONEY_FAIL_TYPED_(name_, struct_, type_);                                                            \
        if (object_)                                                                                                   \
            *object_ = CONEY_AS_(struct_ *, made_);                                                                    \
        return status_;                                                                                                \
    }                                                                                                                  \
    CONEY_UNUSED_ static inline coney_status name_##_to_message(coney_message **message_, const struct_ *object_,      \
                                                                const coney_properties *properties_)                   \
    {                                                                                                                  \
        if (message_)                                                                                                  \
            *message_ = NULL;                                                                                          \
        return CONEY_DESCRIBES_(type_, struct_) ? coney_message_new_object(message_, &(type_), object_, properties_)   \
                                                : CONEY_FAIL_TYPED_(name_, struct_, type_);                            \
    }                                                                                                                  \
    CONEY_UNUSED_ static inline coney_status name_##_from_message(struct_ **object_, coney_message *message_)          \
    {                                                                                                                  \
        void *made_ = NULL;                                                                                            \
        coney_status status_ = CONEY_DESCRIBES_(type_, struct_)                                                        \
                                   ? coney_message_object(object_ ? &made_ : NULL, message_, &(type_))                 \
                                   : CONEY_FAIL_TYPED_(name_, struct_, type_);                                         \
        if (object_)                                                                                                   \
            *object_ = CONEY_AS_(struct_ *, made_);                                                                    \
        return status_;                                                                                                \
    }                                                                                                                  \
    CONEY_UNUSED_ static inline const struct_ *name_##_of(const coney_delivery *delivery_)                             \
    {                                                                                                                  \
        const void *object_ = NULL;                                                                                    \
        if (CONEY_DESCRIBES_(type_, struct_))                                                                          \
            object_ = coney_delivery_object(delivery_, &(type_));                                                      \
        else                                                                                                           \
            (void)CONEY_FAIL_TYPED_(name_, struct_, type_);                                                            \
        return CONEY_AS_(const struct_ *, object_);                                                                    \
    }                                                                                                                  \
    struct coney_typed_##name_ /* so that the macro is followed by a semicolon */

/* NOLINTEND(bugprone-macro-parentheses) */

#define CONEY_DESCRIBES_(type_, struct_) ((type_).size == sizeof(struct_))
#define CONEY_FAIL_TYPED_(name_, struct_, type_)                                                                       \
    coney_conversion_failed("CONEY_TYPED(" #name_ "): " #type_ " does not describe " #struct_)

#ifdef __cplusplus
#define CONEY_AS_(pointer_, value_) static_cast<pointer_>(value_)
#else
#define CONEY_AS_(pointer_, value_) (value_)
#endif

#if defined(__GNUC__)
#define CONEY_UNUSED_ __attribute__((unused))
#else
#define CONEY_UNUSED_
#endif

#endif
