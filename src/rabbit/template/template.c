/* SPDX-License-Identifier: MIT */
/* References to a template: the last one frees it. Any thread. */
#include "rabbit/template/template.h"

static void free_template(coney_template *sender)
{
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++)
        cny_channel_unref(retired[i]);
    cny_channel_unref(sender->channel);
    cny_channel_close(sender->receiver);
    cny_channel_unref(sender->receiver);
    cny_channel_unref(sender->unconfirmed.channel);
    cny_buffer_free(&sender->retired);
    cny_processors_free(&sender->before_publish);
    cny_processors_free(&sender->after_receive);
    cny_rpc_free(sender->rpc);
    cny_arena_free(&sender->arena);
    cny_factory_unref(sender->factory);
    pthread_cond_destroy(&sender->changed);
    pthread_mutex_destroy(&sender->lock);
    cny_free(sender);
}

void cny_template_ref(void *self)
{
    coney_template *sender = self;
    atomic_fetch_add_explicit(&sender->refs, 1, memory_order_relaxed);
}

void cny_template_unref(void *self)
{
    coney_template *sender = self;
    if (atomic_fetch_sub_explicit(&sender->refs, 1, memory_order_acq_rel) == 1)
        free_template(sender);
}

/* Wakes the recovery thread at most once in confirm_timeout_ms, for any number of messages: the recovery thread then
 * sleeps until the confirm of the oldest message is too late. */
void cny_template_watch(coney_template *sender)
{
    if (sender->options.confirm_timeout_ms < 0 || atomic_load(&sender->watched))
        return;
    if (!atomic_exchange(&sender->watched, true))
        cny_factory_wake(sender->factory);
}
