/* SPDX-License-Identifier: MIT */
/* A run: one thread declares what is due, on one connection. It must not hold the factory's lock, because it waits for
 * answers. */
#ifndef CNY_FACTORY_DECLARING_H
#define CNY_FACTORY_DECLARING_H

#include "rabbit/factory/registry.h"

enum {
    CNY_DECLARING_WINDOW = 64,       /* declarations without an answer, for each channel */
    CNY_MOST_DECLARING_CHANNELS = 8, /* with eight a broker whose data directory is empty takes half as long */
};

/* A channel and what was sent on it and has no answer yet, the oldest first. */
typedef struct cny_declaring_channel {
    cny_channel *channel; /* NULL: none is open */
    cny_declaration *sent[CNY_DECLARING_WINDOW];
    size_t count;
} cny_declaring_channel;

/* Only rises. */
typedef enum cny_run_progress {
    CNY_RUN_GOES_ON,
    CNY_RUN_OVER, /* the connection is lost or of no use, or there is no memory */
    CNY_RUN_HUNG, /* over, because the broker has not answered a declaration in time */
} cny_run_progress;

typedef struct cny_run {
    coney_connection_factory *factory; /* a reference */
    cny_connection *connection;        /* a reference */
    cny_buffer sets;                   /* of cny_declaration_set *, references */
    cny_buffer items;                  /* of cny_declaration *, of one kind; from next on they are to be sent */
    size_t next;
    cny_buffer to_check; /* of cny_declaration *: refused, but perhaps there, so they are declared passively */
    cny_buffer declared; /* of uint32_t: the hashes of the names of exchanges and queues */
    cny_declaring_channel channels[CNY_MOST_DECLARING_CHANNELS];
    bool is_isolated; /* the connection is for this run only */
    bool is_passive;  /* the declarations only ask whether the things are there */
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

/* The broker has accepted the declaration of the item. */
void cny_run_answered(cny_run *one, cny_declaration *item);

/* The item is the oldest on its channel, and this thread's last error tells why it was not declared: the broker has
 * closed the channel or the connection, or has not answered in time. */
void cny_run_not_answered(cny_run *one, cny_declaration *item);

/* This thread's last error tells why the item is not declared. */
void cny_run_refused(cny_run *one, cny_declaration *item);

/* ---- ends.c ---- */

/* Tells once of each binding whose queue or exchange nobody in the factory declares, or refuses the binding if its set
 * says so. */
void cny_run_check_ends(cny_run *one);

/* ---- declaring.c ---- */

/* Declares what is due: exchanges, then queues, then bindings. On the isolated connection: what must be isolated.
 * Waits. A connection on which something had no answer is of no more use to this run, and is ended if nobody uses it
 * yet. */
void cny_run_declare_all(cny_run *one);

/* Declares one item, on the isolated connection. Waits. */
void cny_run_try_alone(cny_run *one, cny_declaration *item);

/* What must be isolated and is still due had no answer, perhaps because there was no connection. It becomes due anew:
 * now, so that others have their turn first, or after a pause. */
void cny_run_put_off(const cny_run *one, bool has_pause);

#endif
