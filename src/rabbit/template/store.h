/* SPDX-License-Identifier: MIT */
/* The store of a template with CONEY_FLOW_STORE: messages of asynchronous sends that cannot be published now, in the
 * order of sending.
 *
 * A message is stored until it is sent, or until it ends unsent: because it is dropped, too old or unfit, or the store
 * is closed. An ended message is then told (its callback is called), and finished when the callback has returned.
 * Untold messages count towards the limits, so that dropping messages cannot fill the memory, either.
 *
 * Knows nothing of channels and calls no callback. All functions are called under the template's lock, but
 * cny_stored_new() and cny_stored_free(). Private to the folder. */
#ifndef CNY_TEMPLATE_STORE_H
#define CNY_TEMPLATE_STORE_H

#include "rabbit/factory/factory.h"

typedef struct cny_stored {
    struct cny_stored *next;
    coney_template *sender;
    coney_message *message; /* a reference */
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter; /* NULL, or waits instead of a callback */
    cny_error *error;   /* why it has ended */
    uint64_t number;
    int64_t stored_at;
    size_t bytes;
    bool mandatory;
    const char *routing_key;
    char exchange[]; /* and after its NUL the routing key */
} cny_stored;

typedef struct cny_store {
    const coney_store_options *limits; /* fixed after new */
    cny_stored *first, *last;
    cny_stored *ended, *last_ended; /* not yet taken by cny_store_take_ended() */
    uint64_t next;                  /* the number of the next message; numbers are in the order of sending */
    size_t messages, bytes;
    size_t untold, untold_bytes; /* ended messages, until their callbacks are called */
    size_t unfinished;           /* ended messages, until their callbacks have returned */
    uint64_t dropped, expired;   /* in the life of the template */
    bool was_logged; /* that a message ended which has no callback: once is enough until the store is empty */
    bool closed;
} cny_store;

/* Until free the message counts as one whose outcome is awaited. NULL without memory. */
cny_stored *cny_stored_new(coney_template *sender, const cny_publish *publish, size_t bytes);
void cny_stored_free(cny_stored *one);

/* CONEY_E_CLOSED; CONEY_E_LIMIT if a message of this size never fits, or too many ended messages are untold. */
coney_status cny_store_check(const cny_store *store, size_t bytes);
bool cny_store_fits(const cny_store *store, size_t bytes);

/* Ends the oldest messages until a message of this size fits. */
void cny_store_drop_for(cny_store *store, size_t bytes);
void cny_store_put(cny_store *store, cny_stored *one);

/* Is a message stored that has a lower number? */
bool cny_store_has_before(const cny_store *store, uint64_t number);

/* The first message has been sent; or it ends unsent for this reason. */
void cny_store_sent_first(cny_store *store);
void cny_store_end_first(cny_store *store, cny_error *reason);

/* After some messages were sent: if the store is empty now, the next end without a callback is logged again. */
void cny_store_end_round(cny_store *store);

/* The time at which the oldest message is too old; INT64_MAX: never. */
int64_t cny_store_next_expiry(const cny_store *store);
void cny_store_expire(cny_store *store, int64_t now, cny_error *reason);

/* Ends all stored messages with CONEY_E_CLOSED, and refuses others from now on. */
void cny_store_close(cny_store *store, const char *why);

/* Gives all ended messages, linked by `next`. The caller tells each of them: between begin and end the callback runs.
 * heard: there is a callback or a waiter. begin is true if there is none and the log must say it. */
cny_stored *cny_store_take_ended(cny_store *store);
bool cny_store_begin_telling(cny_store *store, const cny_stored *one, bool heard);
void cny_store_end_telling(cny_store *store);

/* Nothing is stored, and all callbacks of ended messages have returned. */
bool cny_store_is_finished(const cny_store *store);

void cny_store_count(const cny_store *store, coney_send_statistics *statistics);

#endif
