/* SPDX-License-Identifier: MIT */
/* One run over what is to be declared: on one connection, by one thread. */
#ifndef CNY_FACTORY_DECLARING_H
#define CNY_FACTORY_DECLARING_H

#include "rabbit/factory/registry.h"

enum {
    CNY_DECLARING_WINDOW = 64,       /* declarations on their way on a channel */
    CNY_MOST_DECLARING_CHANNELS = 8, /* a broker with an empty data directory takes half the time over eight of them */
};

/* A channel and what is on its way on it, oldest first. */
typedef struct cny_declaring_channel {
    cny_channel *channel; /* NULL: none is open */
    cny_declaration *sent[CNY_DECLARING_WINDOW];
    size_t count;
} cny_declaring_channel;

typedef struct cny_run {
    coney_connection_factory *factory; /* a reference */
    cny_connection *connection;        /* a reference */
    cny_buffer sets;                   /* of cny_declaration_set *, references */
    cny_buffer items;                  /* of cny_declaration *, of one kind: to be sent, from next on */
    size_t next;
    cny_buffer to_look;  /* of cny_declaration *: refused, but they may be there */
    cny_buffer declared; /* of uint32_t: the names' hashes of exchanges and queues */
    cny_declaring_channel channels[CNY_MOST_DECLARING_CHANNELS];
    bool is_isolated; /* the connection is for this run only */
    bool is_passive;
    bool is_over;  /* the connection is lost or of no more use, or no memory is left */
    bool has_hung; /* there was no answer in time for some thing */
} cny_run;

/* Declares what is due, exchanges before queues before bindings; on the isolated connection suspects. Waits. A
 * connection on which something had no answer is of no more use to this run, and is ended if nobody uses it yet. */
void cny_run_declare_all(cny_run *one);

/* Declares one thing, on the isolated connection. Waits. */
void cny_run_try_alone(cny_run *one, cny_declaration *item);

/* The suspects that are still due have no answer, for want of a connection perhaps. They are due anew, so that others
 * have their turn first, or after a pause. */
void cny_run_put_off(const cny_run *one, bool has_pause);

#endif
