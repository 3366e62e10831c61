/* SPDX-License-Identifier: MIT */
/* The statistics of a template over all its channels, and the list of its unconfirmed messages. Any thread. */
#include "rabbit/template/channels.h"

/* ---- counts ---- */

static void sum_up(coney_template *sender, coney_send_statistics *sum)
{
    size_t count;
    *sum = (coney_send_statistics){0};
    pthread_mutex_lock(&sender->lock);
    cny_channel **retired = cny_retired(sender, &count);
    cny_statistics_add(sum, &sender->ended);
    for (size_t i = 0; i < count; i++)
        cny_channel_add_statistics(retired[i], sum);
    if (sender->channel)
        cny_channel_add_statistics(sender->channel, sum);
    if (sender->unconfirmed.channel)
        cny_channel_add_statistics(sender->unconfirmed.channel, sum);
    cny_store_count(&sender->store, sum);
    pthread_mutex_unlock(&sender->lock);
    sum->blocked_us = cny_factory_blocked_us(sender->factory) - sender->blocked_us_before;
}

coney_status coney_template_statistics(coney_template *sender, coney_send_statistics *statistics)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !statistics)
        return cny_fail(CONEY_E_INVALID, "statistics: the template or the place for them is NULL");
    coney_status status = cny_factory_check_process(sender->factory);
    if (status == CONEY_OK)
        sum_up(sender, statistics);
    return status;
}

size_t coney_template_unconfirmed_count(coney_template *sender)
{
    CNY_DISABLE_CANCEL();
    coney_send_statistics statistics;
    return sender && coney_template_statistics(sender, &statistics) == CONEY_OK ? (size_t)statistics.unconfirmed : 0;
}

/* ---- the list of unconfirmed messages ---- */

static coney_status list_all(coney_template *sender, int64_t until_us, cny_buffer *list, cny_arena *arena)
{
    cny_buffer channels = {0};
    coney_status status = cny_template_channels(sender, &channels);
    cny_channel **all = (cny_channel **)(void *)channels.data;
    for (size_t i = 0; status == CONEY_OK && i < channels.size / sizeof *all; i++)
        status = cny_channel_list_unconfirmed(all[i], until_us, list, arena);
    cny_template_channels_free(&channels);
    return status;
}

static void visit(const cny_unconfirmed *one, int64_t now_us, coney_unconfirmed_visitor *visitor, void *user)
{
    const coney_unconfirmed told = {
        .message = one->message,
        .exchange = one->exchange,
        .routing_key = one->routing_key,
        .age_ms = (now_us - one->sent_us) / 1000,
    };
    visitor(&told, user);
}

coney_status coney_template_list_unconfirmed(coney_template *sender, int older_than_ms,
                                             coney_unconfirmed_visitor *visitor, void *user)
{
    CNY_DISABLE_CANCEL();
    if (!sender || !visitor)
        return cny_fail(CONEY_E_INVALID, "list unconfirmed: the template or the visitor is NULL");
    if (older_than_ms < 0)
        return cny_fail(CONEY_E_INVALID, "list unconfirmed: older_than_ms is %d, which is below 0", older_than_ms);
    coney_status status = cny_factory_check_process(sender->factory);
    if (status != CONEY_OK)
        return status;
    cny_buffer list = {0};
    cny_arena arena;
    cny_arena_init(&arena, NULL, 0);
    int64_t now_us = cny_now_us();
    status = list_all(sender, now_us - (int64_t)older_than_ms * 1000, &list, &arena);
    const cny_unconfirmed *all = (const cny_unconfirmed *)(const void *)list.data;
    for (size_t i = 0; i < list.size / sizeof *all; i++) {
        if (status == CONEY_OK)
            visit(&all[i], now_us, visitor, user);
        coney_message_unref(all[i].message);
    }
    cny_arena_free(&arena);
    cny_buffer_free(&list);
    return status;
}
