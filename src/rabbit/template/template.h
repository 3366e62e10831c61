/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "amqp/processor.h"
#include "rabbit/connection/connection.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    /* any thread; each has a lock of its own */
    cny_processors before_publish;
    cny_processors after_receive;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    cny_channel *channel;
    bool busy;          /* some thread opens a channel or sends again, without the lock */
    bool closed;        /* being freed */
    uint64_t retried;   /* attempts of synchronous sends behind the first */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages kept; oldest first */
};

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Sends what dead channels have kept again; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

/* processors.c */

coney_status cny_template_check_delay(int64_t delay_ms);

/* Puts what is really to be sent into publish->message. If that is another message, *prepared, NULL
 * before, becomes the reference to it, which is the caller's to unref, on failure too. */
coney_status cny_template_prepare(coney_template *sender, cny_publish *publish, int64_t delay_ms,
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

uint64_t cny_template_retried(coney_template *sender); /* for statistics */

#endif
