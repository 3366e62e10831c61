/* SPDX-License-Identifier: MIT */
/* A message: body and properties. (Spring: Message and MessageProperties.)
 *
 * A message never changes after it is made, so any thread may read it and several may hold it;
 * it lives until the last reference is gone. */
#ifndef CONEY_AMQP_MESSAGE_H
#define CONEY_AMQP_MESSAGE_H

#include <coney/amqp/status.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

#define CONEY_CONTENT_TYPE_BYTES "application/octet-stream"
#define CONEY_CONTENT_TYPE_TEXT "text/plain"
#define CONEY_CONTENT_TYPE_JSON "application/json"

typedef enum coney_delivery_mode {
    CONEY_DELIVERY_DEFAULT = 0, /* sent as persistent, as Spring does */
    CONEY_TRANSIENT = 1,
    CONEY_PERSISTENT = 2,
} coney_delivery_mode;

/* The properties of AMQP's basic class. NULL or zero: not set. Texts are at most 255 bytes. They should be UTF-8; what
 * others have sent may hold any bytes, and may be sent again. */
typedef struct coney_properties {
    const char *content_type; /* sent as application/octet-stream if not set */
    const char *content_encoding;
    const coney_table *headers;
    coney_delivery_mode delivery_mode;
    uint8_t priority;  /* 1 to 255. 0 is not sent, unless has_priority is set. A message that comes without a priority
                          counts as 4 in a quorum queue of RabbitMQ 4.3, and as 0 in other queues */
    bool has_priority; /* Sends the priority also if it is 0. True in a received message that came with a priority, 0
                          included. For a copy without one set both fields to zero */
    const char *correlation_id; /* "" counts as none and is not sent */
    const char *reply_to;
    const char *expiration; /* milliseconds as a decimal number, such as "60000" */
    const char *message_id;
    int64_t timestamp; /* seconds since 1970, negative before */
    const char *type;
    const char *user_id; /* Set by who sends; the broker refuses any but the name logged in with. Always NULL in a
                            received message: see coney_message_received_user_id(). */
    const char *app_id;
    const char *cluster_id;
} coney_properties;

typedef struct coney_message coney_message;

/* Makes a message with one reference; body and properties are copied, properties may be NULL,
 * body may be NULL if size is 0.
 * CONEY_E_INVALID (a text over 255 bytes, an expiration that is no number), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_new(coney_message **message, const void *body, size_t size,
                                         const coney_properties *properties);

/* Makes a message that differs from another in what is named: properties (NULL: those of the other)
 * and body (NULL, with size 0: shared with the other, not copied). What is given is copied. Where a
 * received message came from goes along. The other stays as it is and is borrowed; `*copy` gets one
 * reference and may be the variable that the other was read from. Any thread.
 * (Spring: MessageBuilder.fromMessage.)
 * CONEY_E_INVALID as coney_message_new(), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_with(coney_message **copy, coney_message *message,
                                          const coney_properties *properties, const void *body, size_t size);

/* The same with one header set (copied), or taken away if the value is NULL. Any thread.
 * CONEY_E_INVALID as coney_table_set(), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_with_header(coney_message **copy, coney_message *message, const char *name,
                                                 const coney_value *value);

/* One more reference, one fewer; the last one frees. Any thread; unref takes NULL. */
CONEY_API coney_message *coney_message_ref(coney_message *message);
CONEY_API void coney_message_unref(coney_message *message);

/* What the message holds. Views that live as long as the message. */
CONEY_API const void *coney_message_body(const coney_message *message);
CONEY_API size_t coney_message_size(const coney_message *message);
CONEY_API const coney_properties *coney_message_properties(const coney_message *message);
CONEY_API const coney_value *coney_message_header(const coney_message *message, const char *name);

/* Where a received message came from (Spring: receivedExchange and so on); "" for one made here. */
CONEY_API const char *coney_message_exchange(const coney_message *message);
CONEY_API const char *coney_message_routing_key(const coney_message *message);
CONEY_API bool coney_message_redelivered(const coney_message *message);

/* The user id that a received message came with, which the broker has checked against the name its sender logged in
 * with; NULL for one made here, or if it came without. It tells about the sender of that message only, so it is no
 * property: a received message that is sent on, or a copy of it, goes without, unless the program sets
 * coney_properties.user_id or coney_template_options.user_id itself. It goes along with a copy made by
 * coney_message_with(), to be read. A listener gets NULL for a message that has been on its retry ladder, in its
 * quarantine or in the parking queue, because the listener's connection has published that copy. View.
 * (Spring: receivedUserId.) */
CONEY_API const char *coney_message_received_user_id(const coney_message *message);

CONEY_END

#endif
