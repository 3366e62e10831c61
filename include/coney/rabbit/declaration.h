/* SPDX-License-Identifier: MIT */
/* How the things that a program declares stand at the broker, by what the broker answered last: the queues, exchanges
 * and bindings of its admins' topologies, and the queues that its listeners bring along. (Spring:
 * DeclarationExceptionEvent and RabbitAdmin.getLastDeclarationExceptionEvent.) */
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
    /* The broker has not answered yet, or what it answered may pass (an exclusive queue of a connection that is about
     * to end, a cluster that is not complete): the thing is declared again, and status tells the last answer. */
    CONEY_DECLARATION_PENDING,

    CONEY_DECLARATION_DECLARED,

    /* The broker refused the declaration, but the thing is there: with other properties (406), or made by somebody with
     * the permission that this program lacks (403; for a binding nobody can look, so it counts as there). It is not
     * declared again before the next connection or coney_admin_declare(). */
    CONEY_DECLARATION_FOUND,

    /* The broker refused the declaration, and the thing is not there. It is declared again now and then. */
    CONEY_DECLARATION_REFUSED,
} coney_declaration_state;

typedef struct coney_declaration {
    coney_declaration_kind kind;
    coney_declaration_state state;
    char name[256];        /* of the queue or exchange; of a binding its destination */
    char exchange[256];    /* of a binding its source, else "" */
    char routing_key[256]; /* of a binding, else "" */
    coney_status status; /* Why it is not declared; CONEY_OK: the broker has not refused it. To a listener that is told
                              of CONEY_DECLARATION_DECLARED: the refusal before that. */
    int broker_code;     /* such as 406; 0 if the broker did not speak */
    char text[1024];     /* one sentence with the thing, the broker's words and, where there is one, the way out */
} coney_declaration;

/* Runs on the factory's events thread, with no Coney lock held, when a declaration is refused, once for each
 * connection, and when one that was refused has succeeded after all. The declaration is a view for the call. */
typedef void coney_declaration_listener(const coney_declaration *declaration, void *user);

CONEY_END

#endif
