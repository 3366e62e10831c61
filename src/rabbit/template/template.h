/* SPDX-License-Identifier: MIT */
/* A template: its fields and their owners, and references. Private to the folder: programs use the public headers, and
 * no other room uses templates. Functions call their template `sender`, because `template` is a keyword of C++. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "amqp/amqp.h"
#include "rabbit/factory/factory.h"
#include "rabbit/rpc/rpc.h"
#include "rabbit/template/store.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    uint64_t blocked_us_before;     /* how long the factory was blocked before the template was made */
    cny_rpc *rpc;                   /* its requests */

    /* any thread */
    atomic_uint
        refs; /* the program's, those of batching templates, scopes, requests, untold messages, and of the factory */
    atomic_bool watched;           /* the recovery thread will wake when the next confirm is too late */
    cny_processors before_publish; /* each has a lock of its own */
    cny_processors after_receive;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;      /* a field below */
    bool closed;                 /* the template is being freed: its channels stay as they are */
    coney_send_statistics ended; /* the counts of channels that are gone, and the template's own */
    cny_store store;
    cny_channel *receiver; /* for basic.get; NULL: there is none, or it is in use (receive.c) */

    /* under lock; the channel in confirm mode, its predecessors, and sending again (channels.c, resend.c) */
    cny_channel *channel;
    bool busy;          /* a thread opens the channel or sends again, and does not hold the lock meanwhile */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages that await resending */
    bool awaits_declarations;    /* each message that awaits resending waits for a declaration, */
    uint64_t declarations_known; /* as was found when cny_declarations_changes() had this value */

    /* under lock; the channel without confirms (unconfirmed.c) */
    struct {
        cny_channel *channel;
        bool opening;        /* a thread opens the channel, and does not hold the lock meanwhile */
        int64_t quiet_until; /* until then no refusal is logged */
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
