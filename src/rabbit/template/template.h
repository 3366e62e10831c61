/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "rabbit/connection/connection.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    cny_channel *channel;
    cny_channel *receiver; /* of the consuming connection, idle; NULL: none, or in use */
    bool busy;             /* some thread opens a channel or sends again, without the lock */
    bool closed;           /* being freed */
    cny_buffer retired;    /* of cny_channel *: gone, but with callbacks on their way or messages kept; oldest first */
};

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Sends what dead channels have kept again; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

void cny_template_ref(void *self);
void cny_template_unref(void *self);

/* What a send comes down to: checks options and message and fills in what the template says. *publish
 * holds views of what is given here. */
coney_status cny_template_resolve(const coney_template *sender, const char *routing_key, coney_message *message,
                                  const coney_send_options *options, cny_publish *publish, int *timeout_ms);
coney_status cny_template_fail_send(const cny_publish *publish); /* adds where to */

/* The name of the queue to receive from: the one given or the template's. */
coney_status cny_template_receive_queue(const coney_template *sender, const char **queue);

/* Where every message passes that is received through the template, before its receiver has it. It
 * may put another one in its place, or NULL: there was none. Fails for what cannot be read. */
coney_status cny_template_received(coney_template *sender, coney_message **message);

#endif
