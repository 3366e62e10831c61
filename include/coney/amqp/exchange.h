/* SPDX-License-Identifier: MIT */
/* Exchanges and bindings to declare. (Spring: Exchange, ExchangeBuilder, Binding, BindingBuilder. AMQP:
 * exchange.declare, queue.bind, exchange.bind.) Zero means the default; exchanges are durable by default. */
#ifndef CONEY_AMQP_EXCHANGE_H
#define CONEY_AMQP_EXCHANGE_H

#include <coney/amqp/queue.h>

CONEY_BEGIN

typedef enum coney_exchange_type {
    CONEY_DIRECT = 0,
    CONEY_TOPIC,
    CONEY_FANOUT,
    CONEY_HEADERS,
    CONEY_CONSISTENT_HASH, /* x-consistent-hash. Its plugin must be enabled at the broker. */
} coney_exchange_type;

typedef struct coney_exchange {
    const char *name;
    coney_exchange_type type;
    const char *custom_type; /* Instead of type, such as "x-random". */
    bool delayed;     /* Declared as x-delayed-message, with the type above as its x-delayed-type: the exchange waits as
                         long as a message's header x-delay says. Its plugin must be enabled at the broker. */
    bool transient;   /* Deleted when the broker restarts. */
    bool auto_delete; /* Deleted with its last binding. */
    bool internal;    /* Only other exchanges may publish to it. */
    bool external;    /* Somebody else declares the exchange: see coney_queue.external. */
    coney_on_refusal on_refusal;
    const char *alternate_exchange; /* Messages that fit no binding go there. */

    /* For CONEY_CONSISTENT_HASH, one of the two: what is hashed instead of the routing key. */
    const char *hash_header;
    const char *hash_property; /* "message_id", "correlation_id" or "timestamp". */

    const coney_table *arguments; /* Any further argument. One that contradicts a field above is CONEY_E_INVALID. */
} coney_exchange;

typedef struct coney_binding {
    const char *exchange;    /* The source. */
    const char *destination; /* A queue, or an exchange if to_exchange is set. */
    bool to_exchange;
    const char *routing_key; /* NULL is "". */
    coney_on_refusal on_refusal;
    const coney_table *arguments; /* For a headers exchange see coney_match_headers(). */
} coney_binding;

/* Sent as x-match to a headers exchange. The forms WITH_X also compare headers whose names begin with "x-". */
typedef enum coney_match {
    CONEY_MATCH_ALL = 0,
    CONEY_MATCH_ANY,
    CONEY_MATCH_ALL_WITH_X,
    CONEY_MATCH_ANY_WITH_X,
} coney_match;

/* Gives the arguments of a binding to a headers exchange, to be freed with coney_table_free(): messages match whose
 * headers have these values, and have headers of these names, whatever their values. (Spring: BindingBuilder's
 * where().exists(), where().matches(), whereAll(), whereAny().) Any thread.
 * - values may be NULL: none.
 * - present is a list that ends with NULL, or NULL: none.
 * - CONEY_E_INVALID: there is nothing to match; a name is in both; or a name begins with "x-" and the match would not
 *   look at the header.
 * - CONEY_OK, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_match_headers(coney_table **arguments, coney_match match, const coney_table *values,
                                           const char *const *present);

CONEY_END

#endif
