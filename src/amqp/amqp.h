/* SPDX-License-Identifier: MIT */
/* Inside of the AMQP vocabulary: what the wire and the parts above need to know of messages,
 * tables and declarations beyond the public headers. Knows no broker. */
#ifndef CNY_AMQP_H
#define CNY_AMQP_H

#include "base/base.h"

#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/topology.h>
#include <coney/amqp/value.h>

#include <stdatomic.h>

#define CNY_MAX_SHORT_STRING 255 /* AMQP's shortstr */

/* ---- text ---- */

/* Offset of the first byte that is not UTF-8, -1 if all is. */
ptrdiff_t cny_utf8_error(const char *text, size_t size);

/* Checks that a text fits a shortstr; what names it in the error, such as "message id". Its bytes are anybody's: what
 * another client has sent may be sent on. NULL is fine. CONEY_E_INVALID. */
coney_status cny_check_short(const char *what, const char *text);

/* The same for a name that only this program gives, such as "routing key": it must be UTF-8, too. */
coney_status cny_check_name(const char *what, const char *text);

/* ---- tables ---- */

/* A table inside someone's arena: freed with it, never by coney_table_free(). */
coney_table *cny_table_in(cny_arena *arena, size_t capacity);
coney_array *cny_array_in(cny_arena *arena, size_t capacity);

/* A deep copy inside someone's arena. NULL without memory. */
coney_table *cny_table_copy(cny_arena *arena, const coney_table *table);

/* The same of all but one name; NULL counts as empty. */
coney_table *cny_table_copy_without(cny_arena *arena, const coney_table *table, const char *without);

/* Puts in without copying or checking: name and value are in the table's arena already. */
bool cny_table_put(coney_table *table, const char *name, coney_value value);
bool cny_array_put(coney_array *array, coney_value value);

/* The bytes that it takes in a frame; of an entry of a table, with its name. NULL is no table: 0. */
size_t cny_table_wire_size(const coney_table *table);
size_t cny_entry_wire_size(const char *name, const coney_value *value);

/* The entries that a message's headers may have, those of the tables and arrays in them included, and x-death may have
 * as many besides. Each takes up to 100 bytes of memory, where an entry of a frame may take a single byte: so the
 * headers of a message hold 2 MB at most. */
enum { CNY_MAX_ENTRIES = 10000 };
size_t cny_count_entries(const coney_value *value); /* the entry with that value, and those within */

/* ---- message ---- */

struct coney_message {
    atomic_uint refs;
    bool redelivered;
    uint64_t delivery_tag;
    coney_properties properties;
    uint8_t *body;
    size_t size;
    const char *exchange;
    const char *routing_key;
    const char *received_user_id; /* not in properties: those are what is sent */
    const char *defect;           /* why the headers could not be read, NULL if they could */
    coney_message *shares;        /* a reference to what it has views of, NULL if all is its own */
    cny_arena arena;              /* holds all of the above; begins directly after this struct */
};

/* coney_message_with() without checks: for what a broker has delivered, which may have been sent by anyone. */
coney_status cny_message_with(coney_message **copy, coney_message *message, const coney_properties *properties);

/* By which messages can be told apart; NULL: it has none. Some clients send an empty one with each message. The message
 * may be NULL. The second function is for a sentence, and never NULL. */
const char *cny_message_id(const coney_message *message);
const char *cny_id_of(const coney_message *message);

/* An empty message whose arena has room for that many bytes without a second allocation. */
coney_message *cny_message_alloc(size_t room);

/* How many bytes of memory it holds, with the message whose body it shares. */
size_t cny_message_weight(const coney_message *message);

/* ---- replies ---- */

typedef struct cny_address {
    char exchange_room[CNY_MAX_SHORT_STRING + 1];
    const char *exchange;    /* a view of that, or a constant */
    const char *routing_key; /* a view of the text */
    bool is_direct;          /* RabbitMQ's pseudo-queue: it counts as unroutable even when it works */
    bool is_requesters;      /* a request names it, so a mistake in it is not this program's */
} cny_address;

/* "queue" or "exchange/routing key", perhaps with a scheme in front. */
void cny_address_parse(cny_address *to, const char *text);

/* The request's reply_to; false if it has none. */
bool cny_address_of_requester(cny_address *to, const coney_message *request);

/* Gives the reply with the request's correlation id, or else its message id. */
coney_status cny_correlate(coney_message **correlated, const coney_message *request, coney_message *reply);

/* ---- converters ---- */

/* Call a converter, which may be the program's, and make sure that a failure has a sentence. */
coney_status cny_to_message(const coney_converter *converter, coney_message **message, const void *object,
                            const coney_properties *properties);
coney_status cny_from_message(const coney_converter *converter, void **object, coney_message *message);

/* ---- declarations ---- */

coney_status cny_queue_check(const coney_queue *queue);
coney_status cny_exchange_check(const coney_exchange *exchange);
coney_status cny_binding_check(const coney_binding *binding);

/* All arguments, the struct's typed fields among them, under the names the broker knows. Gives
 * *arguments. CONEY_E_NO_MEMORY. */
coney_status cny_queue_arguments(coney_table **arguments, const coney_queue *queue);
coney_status cny_exchange_arguments(coney_table **arguments, const coney_exchange *exchange);

/* What the declaration says of the queue, by its fields or by arguments. CONEY_QUEUE_DEFAULT: it does not say which
 * kind. */
coney_queue_kind cny_queue_kind(const coney_queue *queue);
bool cny_queue_has_single_active_consumer(const coney_queue *queue);
int64_t cny_queue_delivery_limit(const coney_queue *queue, int64_t otherwise); /* below 0: none */
bool cny_queue_delays_failures(const coney_queue *queue);

const char *cny_exchange_type_name(const coney_exchange *exchange);

/* What basic.consume asks for. */
typedef struct cny_consume {
    const char *queue;
    const char *consumer_tag; /* NULL: the broker's choice */
    bool no_ack;
    bool exclusive;
    const coney_table *arguments; /* may be NULL */
} cny_consume;

struct coney_topology {
    cny_arena arena;
    cny_buffer exchanges; /* of coney_exchange */
    cny_buffer queues;    /* of coney_queue */
    cny_buffer bindings;  /* of coney_binding */
    cny_error *failure;   /* the first one */
};

/* A copy of its own, NULL without memory. */
coney_topology *cny_topology_copy(const coney_topology *topology);

#endif
