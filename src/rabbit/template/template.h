/* SPDX-License-Identifier: MIT */
/* A template: its fields, who owns them, and references to a template. Private to the folder, of which nobody above
 * needs anything. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "amqp/processor.h"
#include "rabbit/factory/factory.h"
#include "rabbit/template/store.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    uint64_t blocked_us_before;     /* how long the factory was blocked before the template was made */

    /* any thread */
    atomic_uint refs;              /* the program's, its batching templates' and, for a while, the recovery thread's */
    atomic_bool watched;           /* the recovery thread knows when the next confirm is too late */
    cny_processors before_publish; /* each has a lock of its own */
    cny_processors after_receive;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;      /* anything below */
    bool closed;                 /* the template is being freed: its channels stay as they are */
    coney_send_statistics ended; /* what channels counted that are gone, and what is counted here */
    cny_store store;
    cny_channel *receiver; /* of the consuming connection, idle; NULL: none, or in use */

    /* under lock; the channel in confirm mode, its predecessors, and sending again (channels.c, resend.c) */
    cny_channel *channel;
    bool busy;          /* a thread opens the channel or sends again, and does not hold the lock meanwhile */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages that await resending */
    bool awaits_declarations;    /* all that awaits resending does, */
    uint64_t declarations_known; /* and this is how far the factory's declarations were when that was found */

    /* under lock; the channel without confirms (unconfirmed.c) */
    struct {
        cny_channel *channel;
        bool opening;        /* a thread opens the channel, and does not hold the lock meanwhile */
        int64_t quiet_until; /* before that no refusal is logged */
    } unconfirmed;
};

void cny_template_ref(void *self);
void cny_template_unref(void *self);

/* The recovery thread keeps the deadlines of confirms, but sleeps while no message is unconfirmed. So each asynchronous
 * send is followed by this. */
void cny_template_watch(coney_template *sender);

/* The channels in `retired`, oldest first. */
static inline cny_channel **cny_retired(const coney_template *sender, size_t *count)
{
    *count = sender->retired.size / sizeof(cny_channel *);
    return (cny_channel **)(void *)sender->retired.data;
}

#endif
