/* SPDX-License-Identifier: MIT */
/* The state of what a program declares, by the broker's last answer: the queues, exchanges and bindings of its admins'
 * topologies, and the queues of its listeners. (Spring: DeclarationExceptionEvent and
 * RabbitAdmin.getLastDeclarationExceptionEvent.) */
#ifndef CONEY_RABBIT_DECLARATION_H
#define CONEY_RABBIT_DECLARATION_H

#include <coney/amqp/status.h>

CONEY_BEGIN

typedef enum coney_declaration_kind {
    CONEY_DECLARATION_EXCHANGE,
    CONEY_DECLARATION_QUEUE,
    CONEY_DECLARATION_BINDING,
} coney_declaration_kind;

typedef enum coney_declaration_state {
    /* The broker has not answered yet, or its answer may change (an exclusive queue of a connection that is about to
     * end, a cluster that is not complete). The thing is declared again; status tells the last answer. */
    CONEY_DECLARATION_PENDING,

    CONEY_DECLARATION_DECLARED,

    /* The broker refused the declaration, but the thing exists: with other properties (406), or made by another user,
     * while this user has no permission to make it (403). A binding with 403 counts as existing, because nobody can ask
     * about bindings. The thing is declared again with the next connection, and by coney_admin_declare(). */
    CONEY_DECLARATION_FOUND,

    /* The broker refused the declaration, and the thing does not exist. It is declared again after 1 s, 2 s, 4 s, 5 s
     * and 5 s, and then after pauses of up to 30 s. */
    CONEY_DECLARATION_REFUSED,

    /* The same, for a thing with CONEY_REFUSAL_FAIL after the first five repetitions: containers of the factory have
     * stopped, and sends that need the thing fail, until a later repetition succeeds. */
    CONEY_DECLARATION_FAILED,
} coney_declaration_state;

typedef struct coney_declaration {
    coney_declaration_kind kind;
    coney_declaration_state state;
    char name[256];        /* Name of the queue or exchange; destination of a binding. */
    char exchange[256];    /* Source of a binding, else "". */
    char routing_key[256]; /* Of a binding, else "". */
    coney_status status;   /* Why the thing is not declared; CONEY_OK if the broker has not refused it. When a listener
                              is told of CONEY_DECLARATION_DECLARED: the refusal before. */
    int broker_code;       /* Such as 406; 0 if the broker gave no code. */
    /* If the thing exists with other properties: the first one that differs, by its name in coney_queue or
     * coney_exchange if there is one, and both values; else "". For "transient" the values are those of "durable". */
    char field[64];
    char declared[300];
    char existing[300];
    char text[1024]; /* One sentence with the thing, the broker's words and, if there is one, a remedy. */
} coney_declaration;

/* Runs when a declaration is refused, once for each connection, and when a declaration succeeds after a refusal: on the
 * factory's events thread, with no Coney lock held. The declaration is a view for the call. */
typedef void coney_declaration_listener(const coney_declaration *declaration, void *user);

CONEY_END

#endif
