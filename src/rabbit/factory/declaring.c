/* SPDX-License-Identifier: MIT */
/* Declares what is due: exchanges, then queues, then bindings. Many declarations are sent before the first answer, over
 * several channels if there are many. A refusal costs its channel, and what was sent on the channel after the refused
 * declaration is sent again on another channel. On a thread of its own, without a lock unless said otherwise. It must
 * not know what an answer means (outcomes.c). */
#include "rabbit/factory/declaring.h"
#include "rabbit/factory/parts.h"

#include <stdio.h>
#include <string.h>

#define ENOUGH_FOR_ONE 200 /* declarations on a channel; for more another channel is opened */
#define MAX_DELAY_MS 30000
#define ISOLATED_WINDOW 8 /* small, for what was sent after a declaration without an answer has to be sent again */
#define UNUSED_MS 4000    /* for an answer while nobody uses the connection yet; less than recovery.c waits */
#define END_MS 1000       /* for the end of a connection that nobody has used */

/* ---- sending ---- */

static size_t left_to_send(const cny_run *one)
{
    return one->items.size / sizeof(cny_declaration *) - one->next;
}

static bool has_channel(const cny_run *one)
{
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++) {
        if (one->channels[i].channel)
            return true;
    }
    return false;
}

/* If the connection allows no more channels, the run goes on with those that are open. */
static bool open_channel(cny_run *one, cny_declaring_channel *to, int timeout_ms)
{
    coney_status status = cny_channel_open_on(&to->channel, one->connection, true, cny_deadline(timeout_ms));
    if (status != CONEY_OK) {
        to->channel = NULL;
        if (status != CONEY_E_LIMIT || !has_channel(one))
            cny_run_end(one, CNY_RUN_OVER);
    }
    return status == CONEY_OK;
}

static void close_channel(cny_declaring_channel *of)
{
    cny_channel_close(of->channel);
    cny_channel_unref(of->channel);
    of->channel = NULL;
}

/* On the isolated connection the items are spread over all channels, so that those that have no answer are waited for
 * at the same time. */
static size_t window_of(const cny_run *one)
{
    size_t part = 1 + left_to_send(one) / CNY_MOST_DECLARING_CHANNELS;
    if (!one->is_isolated)
        return CNY_DECLARING_WINDOW;
    return part < ISOLATED_WINDOW ? part : ISOLATED_WINDOW;
}

/* Sends until the window is full. An item that cannot be encoded is refused without asking the broker. */
static void send_some(cny_run *one, cny_declaring_channel *to)
{
    cny_declaration **items = (cny_declaration **)(void *)one->items.data;
    size_t window = window_of(one);
    while (to->count < window && left_to_send(one) > 0 && !cny_run_is_over(one)) {
        cny_declaration *item = items[one->next];
        if (!to->channel && !open_channel(one, to, item->timeout_ms))
            return;
        coney_status status = cny_channel_send_declaration(to->channel, item->kind, item->thing, one->is_passive);
        if (status == CONEY_OK)
            to->sent[to->count++] = item;
        else if (status == CONEY_E_INVALID)
            cny_run_refused(one, item);
        else /* the channel is gone: the oldest item on it tells why; if there is none, another channel is opened */
            break;
        one->next++;
    }
    if (to->channel && to->count == 0 && !cny_channel_alive(to->channel))
        close_channel(to);
}

/* ---- answers ---- */

static void drop_oldest(cny_declaring_channel *of, size_t count)
{
    of->count -= count;
    memmove(of->sent, of->sent + count, of->count * sizeof *of->sent);
}

/* The channel is gone. What was sent on it after the oldest item is sent again. */
static void send_again(cny_run *one, cny_declaring_channel *of)
{
    if (!cny_run_is_over(one) && !cny_buffer_append(&one->items, of->sent, of->count * sizeof *of->sent))
        cny_run_end(one, CNY_RUN_OVER); /* what is left stays wanted, and the next run declares it */
    of->count = 0;
    close_channel(of);
}

/* Under lock. An item without an answer in time counts, too, because callers need not wait for it any longer. */
static void count_answers(const cny_run *one, size_t count)
{
    cny_declarations *declarations = &one->factory->declarations;
    declarations->answers += count;
    if (count > 0)
        declarations->answered_at = cny_now_ms();
}

/* Under lock. */
static bool is_in_use(const cny_run *one)
{
    const cny_slot *slot = &one->factory->slots[cny_connection_role(one->connection)];
    return one->is_isolated || slot->connection != one->connection || slot->state == CNY_SLOT_OPEN;
}

/* For the answer to the declaration of an item. */
static int answer_timeout_ms(const cny_run *one, const cny_declaration *item)
{
    pthread_mutex_lock(&one->factory->lock);
    bool in_use = is_in_use(one);
    pthread_mutex_unlock(&one->factory->lock);
    return in_use || item->timeout_ms < UNUSED_MS ? item->timeout_ms : UNUSED_MS;
}

/* Waits until at most this many declarations on the channel have no answer. */
static void await_answers(cny_run *one, cny_declaring_channel *of, size_t left)
{
    size_t unanswered;
    coney_status status =
        cny_channel_await_declarations(of->channel, left, answer_timeout_ms(one, of->sent[0]), &unanswered);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    size_t answered = of->count - unanswered;
    for (size_t i = 0; i < answered; i++)
        cny_run_answered(one, of->sent[i]);
    drop_oldest(of, answered);
    pthread_mutex_lock(&one->factory->lock);
    count_answers(one, answered + (status != CONEY_OK && of->count > 0));
    pthread_cond_broadcast(&one->factory->changed);
    pthread_mutex_unlock(&one->factory->lock);
    if (error && of->count > 0) {
        cny_declaration *oldest = of->sent[0];
        cny_error_raise(error);
        cny_run_not_answered(one, oldest);
        drop_oldest(of, 1);
        send_again(one, of);
    }
    cny_error_unref(error);
}

/* An item without an answer holds up its channel, so the isolated connection has as many channels as there may be. */
static size_t count_channels(const cny_run *one)
{
    size_t wanted = one->is_isolated ? CNY_MOST_DECLARING_CHANNELS : 1 + left_to_send(one) / ENOUGH_FOR_ONE;
    return wanted < CNY_MOST_DECLARING_CHANNELS ? wanted : CNY_MOST_DECLARING_CHANNELS;
}

/* Fills the window of each channel, then waits for answers on one channel after another. */
static void send_all(cny_run *one)
{
    size_t count = count_channels(one);
    bool any = true;
    while (any) {
        any = false;
        for (size_t i = 0; i < count && !cny_run_is_over(one); i++)
            send_some(one, &one->channels[i]);
        bool is_last = left_to_send(one) == 0 || cny_run_is_over(one);
        for (size_t i = 0; i < count; i++) {
            if (one->channels[i].count == 0)
                continue;
            any = true;
            bool is_gone = !cny_channel_alive(one->channels[i].channel);
            size_t left = is_last || is_gone ? 0 : one->channels[i].count / 2;
            await_answers(one, &one->channels[i], left);
        }
    }
}

/* ---- a run ---- */

static void clear(cny_buffer *items)
{
    items->size = 0;
}

static void want_bindings_of_declared(cny_run *one)
{
    uint32_t *names = (uint32_t *)(void *)one->declared.data;
    size_t count = one->declared.size / sizeof *names;
    cny_declarations_sort_names(names, count);
    pthread_mutex_lock(&one->factory->lock);
    cny_declarations_want_bindings(one->factory, names, count);
    pthread_mutex_unlock(&one->factory->lock);
    clear(&one->declared);
}

/* Declares the items of the run, and declares passively those that were refused and may be there. */
static void declare_items(cny_run *one)
{
    send_all(one);
    clear(&one->items);
    one->next = 0;
    cny_buffer_swap(&one->items, &one->to_check);
    one->is_passive = true;
    send_all(one);
    one->is_passive = false;
    clear(&one->items);
    one->next = 0;
}

static void declare_kind(cny_run *one, cny_declaration_kind kind)
{
    if (kind == CNY_DECLARE_EXCHANGE_BINDING) {
        want_bindings_of_declared(one);
        cny_run_check_ends(one);
    }
    pthread_mutex_lock(&one->factory->lock);
    if (!cny_declarations_collect(&one->sets, kind, cny_connection_role(one->connection), one->is_isolated,
                                  &one->items))
        cny_run_end(one, CNY_RUN_OVER);
    pthread_mutex_unlock(&one->factory->lock);
    declare_items(one);
}

/* RabbitMQ may close a connection over a request without an answer up to 30 s later. So a connection that nobody uses
 * yet is better not used at all. */
static void end_unused(const cny_run *one)
{
    pthread_mutex_lock(&one->factory->lock);
    bool is_unused = !is_in_use(one);
    if (is_unused) {
        cny_fail(CONEY_E_LOST, "another one takes its place, because the broker has not answered a declaration on it");
        cny_connection_abort(one->connection);
    }
    pthread_mutex_unlock(&one->factory->lock);
    if (is_unused)
        cny_connection_wait_ended(one->connection, cny_deadline(END_MS));
}

void cny_run_declare_all(cny_run *one)
{
    for (int kind = 0; kind < CNY_DECLARATION_KINDS && !cny_run_is_over(one); kind++)
        declare_kind(one, (cny_declaration_kind)kind);
    for (size_t i = 0; i < CNY_MOST_DECLARING_CHANNELS; i++)
        close_channel(&one->channels[i]);
    if (one->progress == CNY_RUN_HUNG)
        end_unused(one);
}

void cny_run_try_alone(cny_run *one, cny_declaration *item)
{
    if (!cny_buffer_append(&one->items, &item, sizeof(cny_declaration *)))
        cny_run_end(one, CNY_RUN_OVER);
    declare_items(one);
    close_channel(&one->channels[0]);
    want_bindings_of_declared(one);
}

void cny_run_put_off(const cny_run *one, bool has_pause)
{
    int64_t now = cny_now_ms();
    pthread_mutex_lock(&one->factory->lock);
    cny_walk all = cny_walk_begin(one->factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        bool is_due = cny_declaration_is_missing(item) && cny_must_isolate(&item->strikes) && item->due_at <= now;
        if (is_due && has_pause)
            cny_declaration_delay(item, MAX_DELAY_MS);
        else if (is_due)
            item->due_at = now;
    }
    pthread_mutex_unlock(&one->factory->lock);
}
