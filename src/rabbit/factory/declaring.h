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

/* Only rises. */
typedef enum cny_run_progress {
    CNY_RUN_GOES_ON,
    CNY_RUN_OVER, /* the connection is lost or of no more use, or no memory is left */
    CNY_RUN_HUNG, /* over, because there was no answer in time for some thing */
} cny_run_progress;

typedef struct cny_run {
    coney_connection_factory *factory; /* a reference */
    cny_connection *connection;        /* a reference */
    cny_buffer sets;                   /* of cny_declaration_set *, references */
    cny_buffer items;                  /* of cny_declaration *, of one kind: to be sent, from next on */
    size_t next;
    cny_buffer to_check; /* of cny_declaration *: refused, but they may be there */
    cny_buffer declared; /* of uint32_t: the names' hashes of exchanges and queues */
    cny_declaring_channel channels[CNY_MOST_DECLARING_CHANNELS];
    bool is_isolated; /* the connection is for this run only */
    bool is_passive;  /* its declarations, which only ask whether a thing is there */
    cny_run_progress progress;
} cny_run;

static inline void cny_run_end(cny_run *one, cny_run_progress how)
{
    if (one->progress < how)
        one->progress = how;
}

static inline bool cny_run_is_over(const cny_run *one)
{
    return one->progress != CNY_RUN_GOES_ON;
}

/* ---- outcomes.c ---- */

/* The broker has answered the item's declaration, with success. */
void cny_run_answered(cny_run *one, cny_declaration *item);

/* The item is the oldest on its channel, and was not declared, for what this thread's last error tells: the channel or
 * the connection is gone, or there was no answer in time. */
void cny_run_not_answered(cny_run *one, cny_declaration *item);

/* The item is not declared, for what this thread's last error tells. */
void cny_run_refused(cny_run *one, cny_declaration *item);

/* ---- declaring.c ---- */

/* Declares what is due, exchanges before queues before bindings; on the isolated connection suspects. Waits. A
 * connection on which something had no answer is of no more use to this run, and is ended if nobody uses it yet. */
void cny_run_declare_all(cny_run *one);

/* Declares one thing, on the isolated connection. Waits. */
void cny_run_try_alone(cny_run *one, cny_declaration *item);

/* The suspects that are still due have no answer, for want of a connection perhaps. They are due anew, so that others
 * have their turn first, or after a pause. */
void cny_run_put_off(const cny_run *one, bool has_pause);

#endif
