/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "amqp/processor.h"
#include "rabbit/connection/connection.h"
#include "rabbit/factory/isolation.h"

#include <stdatomic.h>

/* What CONEY_FLOW_STORE has stored; in store.c, all under the template's lock. */
typedef struct cny_store {
    struct cny_stored *first, *last;
    struct cny_stored *ended, *last_ended; /* will not be sent; who lets go of the lock tells, with cny_store_tell() */
    uint64_t next;                         /* they are numbered in the order of sending */
    size_t messages, bytes;
    size_t telling, telling_bytes; /* of ended ones, until their callbacks are called */
    size_t unfinished;             /* until their callbacks have returned */
    uint64_t dropped, expired;     /* ever */
    bool unheard;                  /* an end was logged for want of a callback: once is enough until it is empty */
    bool closed;
} cny_store;

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's, its batching templates' and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    uint64_t blocked_us_before;     /* it was made */
    /* any thread */
    atomic_bool watched;           /* the recovery thread knows when the next confirm is too late */
    cny_processors before_publish; /* each has a lock of its own */
    cny_processors after_receive;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    cny_channel *channel;
    cny_channel *receiver;       /* of the consuming connection, idle; NULL: none, or in use */
    cny_channel *plain;          /* not in confirm mode, for what is sent and forgotten */
    bool opening_plain;          /* some thread does, without the lock */
    int64_t quiet_until;         /* nothing is logged of refusals of plain channels */
    bool busy;                   /* some thread opens a channel or sends again, without the lock */
    bool closed;                 /* being freed */
    bool kept_waits;             /* all that is kept does, for exchanges and queues to be declared, */
    uint64_t kept_since;         /* since the factory's declarations were so far */
    coney_send_statistics ended; /* what channels counted that are gone, and what is counted here */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages kept; oldest first */
    cny_store store;
};

void cny_template_ref(void *self);
void cny_template_unref(void *self);

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* The same for one that is not in confirm mode. */
coney_status cny_template_get_plain_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Under lock: why there is none at the deadline, though another thread was opening one. */
coney_status cny_template_no_channel(const coney_template *sender);

/* Lets go of a plain channel that is gone, and logs if the broker refused something. */
void cny_template_check_plain_channel(coney_template *sender);

/* Opens one, until the deadline. Sets it on failure, too: to NULL or a dead one. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Gives a reference to the channel if a message may be sent on it now, else NULL. Waits for nothing. */
cny_channel *cny_template_channel_for_now(coney_template *sender);

/* Sends what dead channels have kept again, then what is stored; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

/* What a send comes down to: checks options and message, fills in what the template says and has the
 * message processed. *publish holds views of what is given here. If another message is to be sent,
 * *prepared, NULL before, becomes the reference to it, which is the caller's to unref, on failure too. */
coney_status cny_template_prepare(coney_template *sender, const char *routing_key, coney_message *message,
                                  const coney_send_options *options, cny_publish *publish, coney_message **prepared);
coney_status cny_template_check_send(const coney_template *sender, const coney_send_options *options);
bool cny_template_is_mandatory(const coney_template *sender, const coney_send_options *options);
coney_status cny_template_fail_send(const cny_publish *publish); /* adds where to */
int64_t cny_template_deadline(const coney_template *sender, const coney_send_options *options);

/* The name of the queue to receive from: the one given or the template's. */
coney_status cny_template_receive_queue(const coney_template *sender, const char **queue);

/* Where every message passes that is received through the template, before its receiver has it. May put
 * another one in its place, or NULL: a processor discards it. Rejects what cannot be read. */
coney_status cny_template_received(coney_template *sender, coney_message **message);

/* Gives the channels whose confirms or callbacks may be outstanding, oldest first: references, of
 * cny_channel *. CONEY_E_NO_MEMORY. */
coney_status cny_template_channels(coney_template *sender, cny_buffer *channels);
void cny_template_channels_free(cny_buffer *channels);

/* Ends what has waited for its confirm too long; the recovery thread's part. It sleeps while nothing is
 * outstanding, so every asynchronous send is followed by watch(). */
int64_t cny_template_tend(void *self, int64_t now);
void cny_template_watch(coney_template *sender);

/* processors.c */

coney_status cny_template_check_delay(int64_t delay_ms);

/* Puts what is really to be sent into publish->message; for prepare(), which tells the rest. */
coney_status cny_template_process(coney_template *sender, cny_publish *publish, int64_t delay_ms,
                                  coney_message **prepared);

/* Runs the processors for received messages. `*message` is a reference, which is replaced by that to
 * the result; NULL: a processor discards it. Fails as cny_processors_run(). */
coney_status cny_template_process_received(coney_template *sender, coney_message **message);

/* retry.c */

coney_status cny_template_check_retry(const coney_retry_options *retry);
coney_retry_options cny_template_retry_defaults(coney_retry_options retry);

/* Makes attempts as the template's options say until the deadline, and has the program recover. */
typedef coney_status cny_attempt(coney_template *sender, const cny_publish *publish, int64_t deadline);
coney_status cny_template_retry(coney_template *sender, const cny_publish *publish, cny_attempt *attempt,
                                int64_t deadline);

/* store.c */

/* Sends now or stores, for CONEY_FLOW_STORE. */
coney_status cny_store_send(coney_template *sender, const cny_publish *publish);

/* Under lock: is something stored that came before that number? */
bool cny_store_has_before(const coney_template *sender, uint64_t number);

/* Under lock, on a channel on which nothing older is to be sent again: sends some of what is stored. Not CONEY_OK: why
 * the next one cannot go. */
coney_status cny_store_flush(coney_template *sender);

/* Under lock: what is stored, and what comes, ends with CONEY_E_CLOSED. */
void cny_store_close(coney_template *sender, const char *why);

/* Not under lock: has those told that have ended. */
void cny_store_tell(coney_template *sender);

/* Ends what is too old; returns when the next one will be. */
int64_t cny_store_expire(coney_template *sender, int64_t now);

/* Nothing is stored, and all callbacks have returned. */
bool cny_store_wait_finished(coney_template *sender, int64_t deadline);

/* Under lock. */
void cny_store_count(const coney_template *sender, coney_send_statistics *statistics);

#endif
