/* SPDX-License-Identifier: MIT */
/* The C side of the suite: one case, what the cases share, and the tables of all cases. peer.c runs them against a
 * Spring peer; tests/unit/test_recorded.c runs the reading half on recorded bytes, without a broker. */
#ifndef CNY_INTEROP_H
#define CNY_INTEROP_H

#include "support/test_support.h"

#include <coney/amqp/content.h>

typedef struct interop_case {
    const char *name; /* The Java side has a case of the same name. */

    /* Checks a message that Spring has sent; index counts from 0. It knows no broker. */
    void (*read)(coney_message *message, int index);
    int messages;   /* How many Spring sends. Default: 1. */
    bool is_answer; /* Spring sends only after it has received something, so there is nothing to record. */

    /* Sends to the queue what the Java side checks. */
    void (*send)(const char *queue);

    /* Instead of read, for what needs more than messages: serves what Spring sends to the queue. */
    void (*serve)(const char *queue);
} interop_case;

/* All cases, in tables that end with an empty case. */
extern const interop_case interop_json_cases[], interop_value_cases[], interop_typed_cases[], interop_listener_cases[],
    interop_property_cases[], interop_body_cases[], interop_talk_cases[], interop_rpc_cases[];
extern const interop_case *const interop_tables[]; /* ends with NULL */

/* The name of a queue of this run, such as "interop.4.1.json-object.coney". A view until the tenth next. */
const char *interop_name(const char *what);
extern const char *interop_line; /* Of Spring, such as "4.1". */

/* How long to wait for Spring, in milliseconds: at most 20 s, and 90 s for all cases together. */
int interop_patience(void);

/* Sends and frees the message; the broker has it afterwards. */
void interop_send(const char *queue, coney_message *message);

/* Sends JSON, in which 'single' quotes stand for double ones, with a header __TypeId__ unless that is NULL. */
void interop_send_json(const char *queue, const char *json, const char *type_id);

/* Makes such JSON. For the caller to free with json_decref(). */
json_t *interop_json(const char *json);

/* Reads the body as JSON and compares it with such JSON. */
void interop_expect_json(coney_message *message, const char *json);

/* Converts the body to what the message says it is, without any types, and checks the kind. */
void interop_expect_kind(coney_message *message, coney_content_kind kind);

/* Checks a header that is a text; NULL: that it is missing. */
void interop_expect_header(const coney_message *message, const char *name, const char *text);

/* Checks the type, and gives the value of a header. */
const coney_value *interop_header(const coney_message *message, const char *name, coney_value_type type);

/* Runs a processor on the message, which is replaced, and forgets the processor. */
void interop_process(coney_message **message, coney_processor processor);

/* Listens until so many messages are settled, at most as long as interop_patience() says. */
void interop_listen(const coney_listener *listener, uint64_t messages);

/* Declares a queue of that name, whose dead letters go to the queue of the other name; interop_name() makes both. */
void interop_declare_dead_lettering(const char *name, const char *dead_letters);

/* Declares the things of Declarations.java under names with this prefix. */
void interop_declare(const char *prefix);

/* The text with which both sides try charsets; Samples.TEXT in Java. */
#define INTEROP_TEXT "Z\u00fcrich, \u6771\u4eac \U0001f680 \"quoted\""

/* Samples.ORDER and Samples.LINES, for interop_json(). */
#define INTEROP_LINES "[{'sku':'bolt','quantity':3,'price':0.25},{'sku':'wheel','quantity':2,'price':19.5}]"
#define INTEROP_ORDER                                                                                                  \
    "{'id':'A-17','customer':{'name':'Z\u00fcrich, \u6771\u4eac \U0001f680 \\'quoted\\'','vip':true},"                 \
    "'lines':" INTEROP_LINES ",'total':39.75,'note':null}"

#endif
