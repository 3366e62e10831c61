/* SPDX-License-Identifier: MIT */
/* A message: body and properties. (Spring: Message and MessageProperties.)
 *
 * A message never changes after it is made, so any number of threads may read and keep the same message. It is freed
 * with its last reference. */
#ifndef CONEY_AMQP_MESSAGE_H
#define CONEY_AMQP_MESSAGE_H

#include <coney/amqp/headers.h>
#include <coney/amqp/status.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

typedef enum coney_delivery_mode {
    CONEY_DELIVERY_DEFAULT = 0, /* Not set. Sent as persistent, as Spring does. */
    CONEY_TRANSIENT = 1,
    CONEY_PERSISTENT = 2,
} coney_delivery_mode;

/* The properties of AMQP's basic class. NULL or zero means not set. Texts have at most 255 bytes and should be UTF-8;
 * texts of received messages may contain any bytes, and may be sent again. */
typedef struct coney_properties {
    const char *content_type; /* If not set, application/octet-stream is sent. */
    const char *content_encoding;
    const coney_table *headers;
    coney_delivery_mode delivery_mode; /* For sending. Always CONEY_DELIVERY_DEFAULT in a received message: see
                                          coney_message_received_delivery_mode(). */
    uint8_t priority; /* 1 to 255. 0 is not sent unless has_priority is set. A message without a priority counts as 4 in
                          a quorum queue of RabbitMQ 4.3, and as 0 in other queues. */
    bool has_priority; /* The priority is sent also if it is 0. True in a received message that came with a priority, 0
                          included. For a copy without a priority set both fields to zero. */
    const char *correlation_id; /* "" counts as not set. */
    const char *reply_to;
    const char *expiration; /* Milliseconds as a decimal number, such as "60000". */
    const char *message_id;
    int64_t timestamp; /* Seconds since 1970, negative before. */
    const char *type;
    const char *user_id; /* For sending: the broker refuses any other name than the name of the connection's login.
                            Always NULL in a received message: see coney_message_received_user_id(). */
    const char *app_id;
    const char *cluster_id;
} coney_properties;

typedef struct coney_message coney_message;

/* Makes a message with one reference. Body and properties are copied. properties may be NULL; body may be NULL if size
 * is 0.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: a text over 255 bytes, or an expiration that is no number. */
CONEY_API coney_status coney_message_new(coney_message **message, const void *body, size_t size,
                                         const coney_properties *properties);

/* Makes a copy of a message with other properties (NULL: the properties of the message) and another body (NULL, with
 * size 0: the body of the message, which is shared and not copied). Arguments are copied. The copy of a received
 * message keeps what the message came with: exchange, routing key, redelivered flag, and the values of the getters at
 * the end of this header. The message is borrowed and does not change; *copy gets one reference and may be the variable
 * from which `message` was read. Any thread. (Spring: MessageBuilder.fromMessage.) Statuses as coney_message_new(). */
CONEY_API coney_status coney_message_with(coney_message **copy, coney_message *message,
                                          const coney_properties *properties, const void *body, size_t size);

/* Makes a copy of a message in which one header is set to a copy of the value, or removed if the value is NULL. Any
 * thread. Statuses as coney_table_set(). */
CONEY_API coney_status coney_message_with_header(coney_message **copy, coney_message *message, const char *name,
                                                 const coney_value *value);

/* Adds a reference, or gives one back; the last one frees the message. Any thread. unref takes NULL. */
CONEY_API coney_message *coney_message_ref(coney_message *message);
CONEY_API void coney_message_unref(coney_message *message);

/* Parts of the message. Views that live as long as the message. */
CONEY_API const void *coney_message_body(const coney_message *message);
CONEY_API size_t coney_message_size(const coney_message *message);
CONEY_API const coney_properties *coney_message_properties(const coney_message *message);
CONEY_API const coney_value *coney_message_header(const coney_message *message, const char *name);

/* The exchange and routing key with which a received message was published, and whether the broker has delivered it
 * before. "" and false for a message made by the program. Views. (Spring: receivedExchange and so on.) */
CONEY_API const char *coney_message_exchange(const coney_message *message);
CONEY_API const char *coney_message_routing_key(const coney_message *message);
CONEY_API bool coney_message_redelivered(const coney_message *message);

/* The user id of a received message, which the broker has checked against the login of the sender's connection. NULL if
 * the message has none, and for a message made by the program. The user id belongs to the sender of this message only:
 * when a received message, or a copy of it, is sent on, no user id is sent unless the program sets
 * coney_properties.user_id or coney_template_options.user_id. A copy made by coney_message_with() keeps it for reading.
 * A listener gets NULL for a message that comes from its retry ladder, its quarantine or its parking queue, because the
 * listener's connection has published that copy. View. (Spring: receivedUserId.) */
CONEY_API const char *coney_message_received_user_id(const coney_message *message);

/* The delivery mode with which a received message came. CONEY_DELIVERY_DEFAULT if it came without one, which AMQP
 * counts as transient, and for a message made by the program. A received message that is sent on is persistent unless
 * the program sets coney_properties.delivery_mode. (Spring: receivedDeliveryMode; but Spring sends such a message
 * without a delivery mode, so it becomes transient.) */
CONEY_API coney_delivery_mode coney_message_received_delivery_mode(const coney_message *message);

/* The number by which the broker knows a delivery on its channel; the fragments of a batch share it. 0 for a message
 * made by the program. (Spring: deliveryTag.) */
CONEY_API uint64_t coney_message_delivery_tag(const coney_message *message);

/* How many messages were left in the queue when a receive that does not wait took this one (AMQP: basic.get). -1 for
 * every other message, because the broker does not tell. (Spring: messageCount.) */
CONEY_API int64_t coney_message_count(const coney_message *message);

/* For how many milliseconds the delayed-message plugin has held back a received message: the number in its header
 * x-delay without the sign, which the plugin changes. 0 if it was not delayed. The header stays. (Spring:
 * receivedDelay.) */
CONEY_API int64_t coney_message_received_delay_ms(const coney_message *message);

/* How often the message was tried before, for programs that count themselves: the number in the header retry-count, or
 * else the count of the latest death (<coney/amqp/death.h>), or else 0. A number above INT32_MAX counts as INT32_MAX,
 * and one below 0 as none. Any sender can write these headers; coney_delivery_attempt() tells what a listener believes.
 * (Spring: retryCount.) */
CONEY_API int64_t coney_message_retry_count(const coney_message *message);

/* Makes a copy of a message with this retry count, a 64-bit integer; with 0 the copy has no header retry-count. To
 * count one more attempt, pass coney_message_retry_count(message) + 1. Any thread. (Spring: incrementRetryCount.)
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: count is below 0, or copy or message is NULL. */
CONEY_API coney_status coney_message_with_retry_count(coney_message **copy, coney_message *message, int64_t count);

/* Writes one line about the message for a log: properties and headers that are set, and what a received message came
 * with, as in
 *
 *     body '{"n":1}' (7 bytes), content_type 'application/json', message_id 'm-1', headers {tries: 2, by: 'web'}
 *
 * Of a body whose content type is text, JSON or XML, and which is UTF-8, the first 50 bytes are shown, of every other
 * body its size; of a text in a header the first 50 bytes. Control characters become '?'. Nothing is allocated.
 *
 * Works as snprintf(): returns the length of the whole line without its NUL; a line that does not fit size is cut off
 * between two characters, with a NUL after it. buffer may be NULL if size is 0. Any thread. (Spring:
 * Message.toString.) */
CONEY_API size_t coney_message_describe(const coney_message *message, char *buffer, size_t size);

CONEY_END

#endif
