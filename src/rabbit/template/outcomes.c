/* SPDX-License-Identifier: MIT */
/* What became of a template's messages, over all its channels: which are unconfirmed, and for too
 * long. Any thread; the deadline is kept by the recovery thread. */
#include "rabbit/template/template.h"

#define AGAIN_MS 10

/* ---- all channels ---- */

coney_status cny_template_channels(coney_template *sender, cny_buffer *channels)
{
    pthread_mutex_lock(&sender->lock);
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    size_t count = sender->retired.size / sizeof *retired;
    bool reserved = cny_buffer_reserve(channels, (count + 1) * sizeof *retired);
    for (size_t i = 0; reserved && i < count; i++) {
        cny_channel_ref(retired[i]);
        cny_buffer_append(channels, &retired[i], sizeof *retired);
    }
    if (reserved && sender->channel) {
        cny_channel_ref(sender->channel);
        cny_buffer_append(channels, &sender->channel, sizeof *retired);
    }
    pthread_mutex_unlock(&sender->lock);
    return reserved ? CONEY_OK : cny_fail_memory();
}

void cny_template_channels_free(cny_buffer *channels)
{
    cny_channel **all = (cny_channel **)(void *)channels->data;
    for (size_t i = 0; i < channels->size / sizeof *all; i++)
        cny_channel_unref(all[i]);
    cny_buffer_free(channels);
}

/* ---- the deadline of confirms ---- */

static int64_t expire_on_all(coney_template *sender, int64_t now)
{
    cny_buffer channels = {0};
    int64_t next = INT64_MAX;
    if (cny_template_channels(sender, &channels) != CONEY_OK)
        return now + AGAIN_MS;
    cny_channel **all = (cny_channel **)(void *)channels.data;
    for (size_t i = 0; i < channels.size / sizeof *all; i++) {
        int64_t due = cny_channel_expire(all[i], now);
        next = due < next ? due : next;
    }
    cny_template_channels_free(&channels);
    return next;
}

/* A message that comes while we look is either seen here, or its sender sees that nobody watches. */
int64_t cny_template_tend(void *self, int64_t now)
{
    coney_template *sender = self;
    if (sender->options.confirm_timeout_ms < 0)
        return INT64_MAX;
    atomic_store(&sender->watched, false);
    int64_t next = expire_on_all(sender, now);
    if (next < INT64_MAX)
        atomic_store(&sender->watched, true);
    return next;
}

/* At most once in confirm_timeout_ms, however many messages there are: the recovery thread then sleeps
 * until the oldest of them is too late. */
void cny_template_watch(coney_template *sender)
{
    if (sender->options.confirm_timeout_ms < 0 || atomic_load(&sender->watched))
        return;
    if (!atomic_exchange(&sender->watched, true))
        cny_factory_attention(sender->factory);
}
