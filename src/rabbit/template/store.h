/* SPDX-License-Identifier: MIT */
/* The store of a template with CONEY_FLOW_STORE: asynchronous sends that cannot go now, in the order of sending.
 *
 * A stored message is taken to be sent, and from then on its channel knows its outcome; or it ends unsent, because it
 * is dropped, too old or unfit, or the store is closed. An ended message waits until its callback begins, and counts
 * until then, so that dropping cannot fill memory either. Lists and counts only: nothing here knows of channels or
 * callbacks. All under the template's lock, but new and free. Private to the folder. */
#ifndef CNY_TEMPLATE_STORE_H
#define CNY_TEMPLATE_STORE_H

#include "rabbit/factory/factory.h"

typedef struct cny_stored {
    struct cny_stored *next;
    coney_template *sender;
    coney_message *message; /* a reference */
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter; /* instead of a callback */
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
    cny_stored *ended, *last_ended; /* unsent, and not taken to be told yet */
    uint64_t next;                  /* the number of the next message; numbers are in the order of sending */
    size_t messages, bytes;
    size_t untold, untold_bytes; /* of ended messages, until their callbacks are called */
    size_t unfinished;           /* ended messages, until their callbacks have returned */
    uint64_t dropped, expired;   /* ever */
    bool was_logged;             /* an end that nobody hears of; one line is enough until the store is empty */
    bool closed;
} cny_store;

/* NULL without memory. The message counts as one whose outcome is awaited, until free. */
cny_stored *cny_stored_new(coney_template *sender, const cny_publish *publish, size_t bytes);
void cny_stored_free(cny_stored *one);

/* CONEY_E_CLOSED; CONEY_E_LIMIT if a message of this size never fits, or too many ended messages are untold. */
coney_status cny_store_check(const cny_store *store, size_t bytes);
bool cny_store_fits(const cny_store *store, size_t bytes);

/* Ends the oldest messages until the new one fits. */
void cny_store_drop_for(cny_store *store, size_t bytes);
void cny_store_put(cny_store *store, cny_stored *one);

/* Is a message stored that came before this number? */
bool cny_store_has_before(const cny_store *store, uint64_t number);

/* The first message has been sent, or will not be sent for this reason. */
void cny_store_sent_first(cny_store *store);
void cny_store_end_first(cny_store *store, cny_error *reason);

/* A round of sending is over: if nothing is left, the next end that nobody hears of is logged again. */
void cny_store_end_round(cny_store *store);

/* When the oldest message will be too old; INT64_MAX: never. */
int64_t cny_store_next_expiry(const cny_store *store);
void cny_store_expire(cny_store *store, int64_t now, cny_error *reason);

/* What is stored ends with CONEY_E_CLOSED, and nothing more is taken. */
void cny_store_close(cny_store *store, const char *why);

/* Gives all ended messages, linked by `next`; each of them is told, which begins and ends. `heard`: somebody wants to
 * know. True if the log is to say it instead. */
cny_stored *cny_store_take_ended(cny_store *store);
bool cny_store_begin_telling(cny_store *store, const cny_stored *one, bool heard);
void cny_store_end_telling(cny_store *store);

/* Nothing is stored, and all callbacks of ended messages have returned. */
bool cny_store_is_finished(const cny_store *store);

void cny_store_count(const cny_store *store, coney_send_statistics *statistics);

#endif
