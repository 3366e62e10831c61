/* SPDX-License-Identifier: MIT */
/* Scopes: a channel in confirm mode or with transactions, for one thread at a time. On that thread. The channel counts
 * the broker's confirms and returns until the thread asks. (Spring: RabbitTemplate.invoke.) */
#include "rabbit/template/options.h"
#include "rabbit/template/processors.h"
#include "rabbit/template/send.h"

#include <coney/rabbit/scope.h>

#include <string.h>

struct coney_scope {
    /* fixed after new */
    coney_template *sender; /* a reference */
    cny_channel *channel;
    coney_scope_mode mode;
    int timeout_ms;
    /* any thread */
    atomic_flag in_use;
    /* the thread that is in a call on the scope */
    size_t sent;          /* messages since the last wait */
    cny_buffer taken;     /* of uint64_t: delivery tags that were settled in this transaction */
    bool outcome_unknown; /* the channel died during a commit */
};

/* ---- life ---- */

static coney_status open_channel(coney_scope *scope, int64_t deadline)
{
    const coney_template_options *options = &scope->sender->options;
    coney_status status = cny_channel_open(&scope->channel, scope->sender->factory, CONEY_PUBLISHING,
                                           options->flow == CONEY_FLOW_FAIL, deadline);
    if (status != CONEY_OK)
        return status;
    if (scope->mode == CONEY_SCOPE_TRANSACTED)
        return cny_channel_tx_select(scope->channel, deadline);
    cny_channel_tally_failures(scope->channel);
    const cny_confirm_options confirms = {.max_unconfirmed = options->max_unconfirmed, .timeout_ms = -1};
    return cny_channel_confirm_select(scope->channel, &confirms, deadline);
}

/* After the channel is closed, so that its counts are complete. */
static void count(coney_template *sender, cny_channel *channel)
{
    pthread_mutex_lock(&sender->lock);
    cny_channel_add_statistics(channel, &sender->ended);
    pthread_mutex_unlock(&sender->lock);
}

static void free_scope(coney_scope *scope)
{
    cny_channel_close(scope->channel);
    if (scope->channel)
        count(scope->sender, scope->channel);
    cny_channel_unref(scope->channel);
    cny_buffer_free(&scope->taken);
    cny_template_unref(scope->sender);
    cny_free(scope);
}

static coney_status check_new(coney_scope **scope, coney_template *sender, const coney_scope_options *options)
{
    if (scope)
        *scope = NULL;
    if (!scope || !sender)
        return cny_fail(CONEY_E_INVALID, "scope: scope or sender is NULL");
    if (options->mode != CONEY_SCOPE_CONFIRMED && options->mode != CONEY_SCOPE_TRANSACTED)
        return cny_fail(CONEY_E_INVALID, "scope: mode is %d, which is no coney_scope_mode", (int)options->mode);
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "scope: timeout_ms is %d, which is below 0", options->timeout_ms);
    coney_status status = cny_factory_check_process(sender->factory);
    return status == CONEY_OK ? cny_factory_check_draining(sender->factory) : status;
}

coney_status coney_scope_new(coney_scope **scope, coney_template *sender, const coney_scope_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_scope_options defaults;
    if (!options)
        options = &defaults;
    coney_status status = check_new(scope, sender, options);
    if (status != CONEY_OK)
        return status;
    coney_scope *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    cny_template_ref(sender);
    made->sender = sender;
    made->mode = options->mode;
    made->timeout_ms = options->timeout_ms ? options->timeout_ms : sender->options.timeout_ms;
    atomic_flag_clear(&made->in_use);
    status = open_channel(made, cny_deadline(made->timeout_ms));
    if (status != CONEY_OK) {
        free_scope(made);
        return cny_fail_in("open a scope");
    }
    *scope = made;
    return CONEY_OK;
}

/* Logs failures that the program has not asked about, or else the number of messages that are unconfirmed. */
static void log_unheard(const coney_scope *scope)
{
    if (scope->mode != CONEY_SCOPE_CONFIRMED || scope->sent == 0)
        return;
    cny_error *first = NULL;
    size_t unfinished = cny_channel_unfinished(scope->channel);
    size_t failed = cny_channel_take_failures(scope->channel, &first);
    if (failed > 0)
        cny_log(CONEY_LOG_WARN, "a scope is freed, and nobody asked about %zu messages that were not confirmed: %s",
                failed, cny_error_view(first)->text);
    else if (unfinished > 0)
        cny_log(CONEY_LOG_WARN, "a scope is freed while %zu messages are unconfirmed; the broker may have them or not",
                unfinished);
    cny_error_unref(first);
}

/* ---- one thread at a time ---- */

static coney_status enter(coney_scope *scope, const char *what)
{
    if (!scope) {
        cny_fail(CONEY_E_INVALID, "%s: the scope is NULL", what);
        return CONEY_E_INVALID;
    }
    coney_status status = cny_factory_check_process(scope->sender->factory);
    if (status != CONEY_OK)
        return status;
    if (atomic_flag_test_and_set_explicit(&scope->in_use, memory_order_acquire))
        return cny_fail(
            CONEY_E_STATE,
            "%s: another thread, or a processor of this one, is in a call on this scope; give each thread its own",
            what);
    return CONEY_OK;
}

static coney_status leave(coney_scope *scope, coney_status status)
{
    atomic_flag_clear_explicit(&scope->in_use, memory_order_release);
    return status;
}

static coney_status enter_transacted(coney_scope *scope, const char *what)
{
    if (scope && scope->mode != CONEY_SCOPE_TRANSACTED)
        return cny_fail(CONEY_E_STATE,
                        "%s: the scope is not transacted; use coney_scope_wait_for_confirms(), or "
                        "CONEY_SCOPE_TRANSACTED in its options",
                        what);
    return enter(scope, what);
}

/* ---- the end of a channel ---- */

/* The scope's channel is dead: the error says what that means for the messages on it. */
static coney_status fail_ended(const coney_scope *scope)
{
    cny_channel_check(scope->channel);
    if (scope->mode == CONEY_SCOPE_CONFIRMED)
        return cny_fail_in("the scope has ended");
    return cny_fail_in(scope->outcome_unknown ? "the scope has ended in a commit whose outcome is unknown"
                                              : "the transaction was rolled back by the broker");
}

/* After a failure on the channel: its status, or that of a channel that is dead. */
static coney_status fail_on_channel(const coney_scope *scope, coney_status status)
{
    return cny_channel_alive(scope->channel) ? status : fail_ended(scope);
}

/* ---- sending and receiving ---- */

static coney_status publish(coney_scope *scope, const cny_publish *message, int64_t deadline)
{
    coney_status status = cny_factory_check_draining(scope->sender->factory);
    if (status == CONEY_OK)
        status = cny_declarations_wait(scope->sender->factory, message->exchange, message->routing_key,
                                       message->flow == CONEY_FLOW_FAIL ? 0 : deadline);
    if (status != CONEY_OK)
        return status;
    if (scope->mode == CONEY_SCOPE_TRANSACTED)
        status = cny_channel_publish_unconfirmed(scope->channel, message, deadline);
    else
        status = cny_channel_publish(scope->channel, message, deadline);
    scope->sent += status == CONEY_OK;
    return status == CONEY_OK ? status : fail_on_channel(scope, status);
}

coney_status coney_scope_send(coney_scope *scope, const char *routing_key, coney_message *message,
                              const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    coney_status status = enter(scope, "send");
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(options && options->timeout_ms > 0 ? options->timeout_ms : scope->timeout_ms);
    cny_publish what = {0};
    coney_message *prepared = NULL;
    status = cny_template_prepare(scope->sender, routing_key, message, options, &what, &prepared);
    if (status == CONEY_OK) {
        status = publish(scope, &what, deadline);
        if (status != CONEY_OK)
            cny_template_fail_send(&what);
    }
    coney_message_unref(prepared);
    return leave(scope, status);
}

/* In a transaction the broker applies the acknowledgement when it gets the commit. */
static coney_status settle(coney_scope *scope, uint64_t delivery_tag, cny_settlement settlement)
{
    if (scope->mode == CONEY_SCOPE_TRANSACTED)
        cny_buffer_append(&scope->taken, &delivery_tag, sizeof delivery_tag); /* get() has reserved the room */
    coney_status status = cny_channel_settle(scope->channel, delivery_tag, settlement);
    if (status == CONEY_OK)
        return status;
    cny_channel_close(scope->channel); /* so that the message goes back to its queue */
    return fail_ended(scope);
}

/* Acknowledges a message, or rejects a message that cannot be read; the last error then says why. */
static coney_status settle_received(coney_scope *scope, coney_message **message)
{
    uint64_t delivery_tag = (*message)->delivery_tag;
    coney_status status = cny_template_process_received(scope->sender, message);
    if (status == CONEY_OK)
        return settle(scope, delivery_tag, CNY_SETTLE_ACK);
    cny_error *error = cny_error_capture();
    settle(scope, delivery_tag, status == CONEY_E_NO_MEMORY ? CNY_SETTLE_REQUEUE : CNY_SETTLE_REJECT);
    cny_error_raise(error);
    cny_error_unref(error);
    return status;
}

static coney_status get(coney_scope *scope, const char *queue, coney_message **message)
{
    int64_t deadline = cny_deadline(scope->timeout_ms);
    coney_status status = cny_template_receive_queue(scope->sender, &queue);
    if (status == CONEY_OK)
        status = cny_factory_check_draining(scope->sender->factory);
    if (status != CONEY_OK)
        return status;
    if (!cny_buffer_reserve(&scope->taken, sizeof(uint64_t)))
        return cny_fail_memory();
    coney_message *received = NULL;
    status = cny_channel_get(scope->channel, queue, &received, deadline);
    if (status != CONEY_OK) {
        fail_on_channel(scope, status);
        return cny_fail_in("receive from queue '%s'", queue);
    }
    if (received)
        status = settle_received(scope, &received);
    if (status == CONEY_OK)
        *message = received;
    else
        coney_message_unref(received);
    return status;
}

coney_status coney_scope_receive(coney_scope *scope, const char *queue, coney_message **message)
{
    CNY_DISABLE_CANCEL();
    if (!message)
        return cny_fail(CONEY_E_INVALID, "receive: message is NULL");
    *message = NULL;
    coney_status status = enter(scope, "receive");
    return status == CONEY_OK ? leave(scope, get(scope, queue, message)) : status;
}

/* ---- confirms ---- */

static coney_status wait_for_confirms(coney_scope *scope, int64_t deadline)
{
    if (!cny_channel_wait_until_finished(scope->channel, deadline))
        return cny_fail(CONEY_E_TIMEOUT, "%zu messages of the scope are not confirmed at the deadline",
                        cny_channel_unfinished(scope->channel));
    size_t sent = scope->sent;
    cny_error *first = NULL;
    size_t failed = cny_channel_take_failures(scope->channel, &first);
    scope->sent = 0;
    if (failed == 0)
        return cny_channel_alive(scope->channel) ? CONEY_OK : fail_ended(scope);
    cny_error_raise(first);
    cny_error_unref(first);
    return cny_fail_in("%zu of %zu messages were not confirmed", failed, sent);
}

coney_status coney_scope_wait_for_confirms(coney_scope *scope, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "wait for confirms: timeout_ms is %d, which is below 0", timeout_ms);
    if (scope && scope->mode != CONEY_SCOPE_CONFIRMED)
        return cny_fail(CONEY_E_STATE, "wait for confirms: the scope is transacted; use coney_scope_commit()");
    coney_status status = enter(scope, "wait for confirms");
    return status == CONEY_OK ? leave(scope, wait_for_confirms(scope, cny_deadline(timeout_ms))) : status;
}

/* ---- transactions ---- */

/* The broker has closed the channel instead of committing, or has not answered. RabbitMQ commits queue by queue; with
 * "partial tx completion" it says that some queues failed and others did not. */
static coney_status fail_commit(coney_scope *scope, coney_status status)
{
    if (cny_channel_alive(scope->channel))
        return cny_fail_in("commit");
    bool partial = strstr(coney_last_error(), "partial tx");
    scope->outcome_unknown = partial || status == CONEY_E_LOST || status == CONEY_E_TIMEOUT || status == CONEY_E_CLOSED;
    if (partial)
        return cny_fail_in("commit: part of the transaction may have taken effect");
    return cny_fail_in(scope->outcome_unknown ? "commit: its outcome is unknown"
                                              : "commit: the transaction was rolled back by the broker");
}

/* Unroutable mandatory messages come back before the answer to the commit. */
static coney_status report_returned(const coney_scope *scope)
{
    cny_error *first = NULL;
    size_t count = cny_channel_take_returned(scope->channel, &first);
    if (count == 0)
        return CONEY_OK;
    cny_error_raise(first);
    cny_error_unref(first);
    return cny_fail_in("committed, but %zu message%s came back", count, count == 1 ? "" : "s");
}

static coney_status commit(coney_scope *scope)
{
    if (!cny_channel_alive(scope->channel)) {
        fail_ended(scope);
        return cny_fail_in("commit");
    }
    coney_status status = cny_channel_tx_commit(scope->channel, cny_deadline(scope->timeout_ms));
    if (status != CONEY_OK)
        return fail_commit(scope, status);
    scope->taken.size = 0;
    return report_returned(scope);
}

coney_status coney_scope_commit(coney_scope *scope)
{
    CNY_DISABLE_CANCEL();
    coney_status status = enter_transacted(scope, "commit");
    return status == CONEY_OK ? leave(scope, commit(scope)) : status;
}

/* Settles one by one, because a basic.nack of several messages does not count towards a queue's delivery limit. */
static coney_status requeue_taken(coney_scope *scope, int64_t deadline)
{
    const uint64_t *tags = (const uint64_t *)(const void *)scope->taken.data;
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < scope->taken.size / sizeof *tags; i++)
        status = cny_channel_settle(scope->channel, tags[i], CNY_SETTLE_REQUEUE);
    return status == CONEY_OK ? cny_channel_tx_commit(scope->channel, deadline) : status;
}

static coney_status rollback(coney_scope *scope)
{
    int64_t deadline = cny_deadline(scope->timeout_ms);
    coney_status status = cny_channel_tx_rollback(scope->channel, deadline);
    if (status == CONEY_OK && scope->taken.size > 0)
        status = requeue_taken(scope, deadline);
    if (status != CONEY_OK) {
        fail_on_channel(scope, status);
        return cny_fail_in("rollback");
    }
    cny_error *returned = NULL;
    cny_channel_take_returned(scope->channel, &returned); /* they were rolled back */
    cny_error_unref(returned);
    scope->taken.size = 0;
    return CONEY_OK;
}

coney_status coney_scope_rollback(coney_scope *scope)
{
    CNY_DISABLE_CANCEL();
    coney_status status = enter_transacted(scope, "rollback");
    return status == CONEY_OK ? leave(scope, rollback(scope)) : status;
}

/* ---- the end ---- */

/* Rolls back what was received, so that the messages are in their queue when free returns: after a close of the
 * channel the broker would put them back a moment later. Not while the broker holds back publishers, because it does
 * not read then. */
static void give_back(coney_scope *scope)
{
    if (scope->taken.size > 0 && cny_channel_alive(scope->channel) &&
        cny_factory_check_blocked(scope->sender->factory) == CONEY_OK)
        rollback(scope);
}

void coney_scope_free(coney_scope *scope)
{
    CNY_DISABLE_CANCEL();
    if (!scope || cny_factory_check_process(scope->sender->factory) != CONEY_OK)
        return;
    if (enter(scope, "free") != CONEY_OK) { /* such as from a processor of a send on the scope */
        cny_log(CONEY_LOG_ERROR, "coney_scope_free called during another call on the scope: the scope is not freed");
        return;
    }
    log_unheard(scope);
    give_back(scope);
    free_scope(scope);
}
