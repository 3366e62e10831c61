/* SPDX-License-Identifier: MIT */
/* Messages, tables, declarations and converters beyond the public headers, for the rooms above. Any thread: messages
 * are constant, everything else belongs to one thread at a time. Knows no broker. */
#ifndef CNY_AMQP_H
#define CNY_AMQP_H

#include "base/base.h"

#include <coney/amqp/address.h>
#include <coney/amqp/content.h>
#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/amqp/value.h>

#include <stdatomic.h>

#define CNY_MAX_SHORT_STRING 255 /* AMQP's shortstr */

/* ---- text ---- */

/* The offset of the first byte that is not UTF-8; -1: all bytes are. */
ptrdiff_t cny_utf8_error(const char *text, size_t size);

/* The number of bytes that the text begins with and that stand in a JSON string as they are: no control characters,
 * quotation marks and backslashes. Counts eight at a time. */
size_t cny_plain_length(const char *text, size_t size);

/* Checks that a text fits a shortstr; `what` names the text in the error: "message id". The text may have any bytes,
 * because a text that another client has sent may be sent on. NULL is fine. CONEY_E_INVALID. */
coney_status cny_check_short(const char *what, const char *text);

/* The same for a name that this program gives, such as "routing key": the name must be UTF-8, too. */
coney_status cny_check_name(const char *what, const char *text);

/* ---- tables ---- */

/* A table in the caller's arena: freed with the arena, never by coney_table_free(). NULL without memory. */
coney_table *cny_table_in(cny_arena *arena, size_t capacity);
coney_array *cny_array_in(cny_arena *arena, size_t capacity);

/* A deep copy in the caller's arena. NULL without memory. */
coney_table *cny_table_copy(cny_arena *arena, const coney_table *table);

/* The same without the entries of one name. `table` NULL: an empty table. */
coney_table *cny_table_copy_without(cny_arena *arena, const coney_table *table, const char *without);

/* A deep copy for a message, without an x-death that no broker can have written, which
 * is one that is no array or does not begin with a table. NULL without memory. */
coney_table *cny_headers_copy(cny_arena *arena, const coney_table *headers, bool *has_forged_death);

/* Adds an entry without copies or checks: name and value are in the table's arena already, or outlive the table. */
bool cny_table_put(coney_table *table, const char *name, coney_value value);
bool cny_array_put(coney_array *array, coney_value value);

/* The bytes that a table takes in a frame (NULL: 0), and an entry of a table with its name. */
size_t cny_table_wire_size(const coney_table *table);
size_t cny_entry_wire_size(const char *name, const coney_value *value);

/* The number of entries that a message's headers may have, including those of the tables and arrays in them. x-death
 * may have the same number of its own. An entry takes up to 100 bytes of memory, but may take a single byte of a
 * frame. So the headers of a message take 2 MB at most. */
enum { CNY_MAX_ENTRIES = 10000 };
size_t cny_count_entries(const coney_value *value); /* the entry that has this value, and those in the value */

/* ---- message ---- */

struct coney_message {
    atomic_uint refs;
    bool redelivered;
    bool has_lost_death; /* the headers came with an x-death that was dropped, because no broker can have written it */
    coney_delivery_mode received_delivery_mode; /* as received_user_id */
    uint64_t delivery_tag;                      /* 0: made by the program */
    int64_t left_in_queue;                      /* messages; -1: not known */
    int64_t arrived_ms;                         /* cny_now_ms(); 0: made by the program */
    coney_properties properties;
    uint8_t *body;
    size_t size;
    const char *exchange;
    const char *routing_key;
    const char *received_user_id; /* not in properties, which are sent on with the message */
    const char *defect;           /* why the headers could not be read, NULL if they could */
    coney_message *shares;        /* a reference to the message that views point into; NULL: there are no views */
    cny_arena arena;              /* holds all of the above; begins directly after this struct */
};

/* coney_message_with() without checks, for a message that the broker has delivered: anybody may have sent it. */
coney_status cny_message_with(coney_message **copy, coney_message *message, const coney_properties *properties);

/* By which messages can be told apart; NULL: it has none. Some clients send an empty one with each message. The message
 * may be NULL. The second function is for a sentence, and never NULL. */
const char *cny_message_id(const coney_message *message);
const char *cny_id_of(const coney_message *message);

/* An empty message whose arena has this room without a second allocation. NULL without memory. */
coney_message *cny_message_alloc(size_t room);

/* The bytes of memory that the message takes, including the message whose body it shares. */
size_t cny_message_weight(const coney_message *message);

/* Makes a random UUID, as bytes or as text. False: the system gave no random numbers. */
bool cny_uuid_bytes(uint8_t bytes[16]);
bool cny_uuid(char uuid[37]);

/* ---- replies ---- */

typedef struct cny_address {
    coney_address parsed;
    const char *exchange; /* views of `parsed`, or of what the program has given */
    const char *routing_key;
    bool is_direct; /* RabbitMQ's pseudo-queue for replies: messages to it count as unroutable although they arrive */
    bool is_requesters; /* a request names the address, so a mistake in it is the requester's */
} cny_address;

/* coney_address_parse() of a text that fits a shortstr. */
void cny_address_parse(cny_address *to, const char *text);

/* How long the sender of a request still waits for the reply, in milliseconds; 0: no longer; -1: the request does not
 * say so. CONEY_HEADER_TIMEOUT counts from the arrival of the message. */
int64_t cny_request_time_left(const coney_message *request);

/* Parses the request's reply_to. False if it has none. */
bool cny_address_of_requester(cny_address *to, const coney_message *request);

/* Gives a copy of the reply with the request's correlation id, or with its message id if it has no correlation id. */
coney_status cny_correlate(coney_message **correlated, const coney_message *request, coney_message *reply);

/* ---- converters ---- */

/* Call a converter, which may be the program's, and make sure that a failure has a sentence. */
coney_status cny_to_message(const coney_converter *converter, coney_message **message, const void *object,
                            const coney_properties *properties);
coney_status cny_from_message(const coney_converter *converter, void **object, coney_message *message);

/* ---- types ---- */

/* coney_types_find() that does not fail: NULL if the message names no type, or none of these. */
const coney_type *cny_types_named(const coney_types *types, const coney_message *message);

/* Checks a type that messages are to name, and a registry, for a struct of options that has it as `types`. Two types of
 * one name cannot be told apart. CONEY_E_INVALID. */
coney_status cny_type_check_named(const coney_type *type);
coney_status cny_types_check(const coney_types *types);
bool cny_types_same_name(const coney_type *type, const coney_type *other);

/* The bytes of memory that JSON of this size takes as jansson's tree, by a guess; and those that an object takes that
 * was read from JSON of this size. */
enum { CNY_JSON_GROWTH = 32 }; /* bytes in memory for a byte of an ordinary document */
size_t cny_object_weight(const void *object, size_t json_size);

/* ---- processors: lists that change while threads run them ---- */

typedef struct cny_processor_list cny_processor_list;

typedef struct cny_processors {
    atomic_bool any; /* false: there are none, so the lock need not be taken */
    /* under lock */
    pthread_mutex_t lock;
    cny_processor_list *list; /* constant, so a thread that runs it needs only a reference; NULL: empty */
} cny_processors;

void cny_processors_init(cny_processors *processors);
void cny_processors_free(cny_processors *processors);

/* Adds a copy, and takes the processor's user pointer in any case. CONEY_E_INVALID (the name is taken, or something is
 * missing), CONEY_E_NO_MEMORY. */
coney_status cny_processors_add(cny_processors *processors, const coney_processor *processor);

/* CONEY_E_INVALID: there is no processor of this name; CONEY_E_NO_MEMORY. */
coney_status cny_processors_remove(cny_processors *processors, const char *name);

static inline bool cny_processors_any(cny_processors *processors)
{
    return atomic_load_explicit(&processors->any, memory_order_acquire);
}

/* Runs the processors in their order. `*message` is a reference, which becomes the reference to the result. It becomes
 * NULL if a processor discards the message; later processors do not run then. Returns the status of the processor that
 * fails, with its name in the sentence; the reference is then to the last result. */
coney_status cny_processors_run(cny_processors *processors, coney_message **message, const char *exchange,
                                const char *routing_key);

/* ---- consuming ---- */

/* The parameters of basic.consume. */
typedef struct cny_consume {
    const char *queue;
    const char *consumer_tag; /* NULL: the broker chooses one */
    bool no_ack;
    bool exclusive;
    const coney_table *arguments; /* may be NULL */
} cny_consume;

#endif
