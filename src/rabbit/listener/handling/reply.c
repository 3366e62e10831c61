/* SPDX-License-Identifier: MIT */
/* Replies to a message, and the messages that a transacted listener sends with its transaction. Runs on the worker, or
 * on the thread that settles. */
#include "rabbit/listener/handling/reply.h"

#include "rabbit/listener/handling/lane.h"
#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/publisher.h"

#include <coney/amqp/json.h>
#include <coney/amqp/remote_error.h>

#include <string.h>

/* ---- transactions ---- */

static coney_status check_transaction(const coney_delivery *delivery)
{
    const coney_listener *options = &delivery->source->handling->spec->options;
    if (!options->transacted)
        return cny_fail(CONEY_E_STATE, "the listener is not transacted; use a template");
    return cny_state_of(&delivery->state) == CNY_DELIVERY_HANDLING
               ? CONEY_OK
               : cny_fail(CONEY_E_STATE, "the handler has returned");
}

static coney_status send_in_transaction(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                        coney_message *message, bool mandatory)
{
    const cny_publish publish = {
        .exchange = exchange, .routing_key = routing_key, .message = message, .mandatory = mandatory};
    return cny_channel_publish_unconfirmed(delivery->arrival->channel, &publish,
                                           cny_deadline(delivery->source->handling->context->publish_timeout_ms));
}

coney_status coney_delivery_send(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                 coney_message *message)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || !exchange || !routing_key || !message)
        return cny_fail(CONEY_E_INVALID, "send: delivery, exchange, routing_key or message is NULL");
    coney_status status = cny_factory_check_process(delivery->source->handling->context->factory);
    if (status == CONEY_OK)
        status = cny_check_name("exchange", exchange);
    if (status == CONEY_OK)
        status = cny_check_name("routing key", routing_key);
    if (status == CONEY_OK)
        status = check_transaction(delivery);
    if (status == CONEY_OK)
        status = send_in_transaction(delivery, exchange, routing_key, message, true);
    return status == CONEY_OK
               ? status
               : cny_fail_in("send to exchange '%.255s' with routing key '%.255s'", exchange, routing_key);
}

/* ---- where replies cost the transaction ---- */

static uint64_t hash_of(const cny_address *to)
{
    const uint64_t key = cny_hash_keyed(to->routing_key, strlen(to->routing_key));
    return (cny_hash_keyed(to->exchange, strlen(to->exchange)) * 31 + key) | 1;
}

static bool has_spoiled(cny_spoilers *spoilers, uint64_t address)
{
    bool found = false;
    for (size_t i = 0; i < CNY_SPOILERS && !found; i++)
        found = atomic_load(&spoilers->addresses[i]) == address;
    return found;
}

static void note_spoiler(cny_source *source)
{
    cny_spoilers *spoilers = &source->handling->memory->spoilers;
    uint64_t address = atomic_exchange(&source->replied_to, 0);
    if (address == 0 || has_spoiled(spoilers, address))
        return;
    unsigned place = atomic_fetch_add(&spoilers->next, 1) % CNY_SPOILERS;
    atomic_store(&spoilers->addresses[place], address);
}

/* A commit that fails has taken nothing: with the channel closed the broker delivers again. */
static void end_transaction(cny_source *source, const char *what,
                            coney_status (*end)(cny_channel *channel, int64_t deadline))
{
    cny_handling *handling = source->handling;
    if (!cny_channel_alive(source->channel) ||
        end(source->channel, cny_deadline(source->handling->context->publish_timeout_ms)) == CONEY_OK) {
        atomic_store(&source->replied_to, 0);
        return;
    }
    note_spoiler(source);
    cny_log_limited(&handling->log, CNY_LOG_FAILURE, CONEY_LOG_ERROR, NULL,
                    "queue '%s': a transaction cannot be %s, so its messages come again: %s",
                    handling->spec->options.queue, what, coney_last_error());
    cny_channel_close(source->channel);
}

void cny_transaction_rollback(cny_source *source)
{
    end_transaction(source, "rolled back", cny_channel_tx_rollback);
}

/* Returned messages come before the answer to the commit, and then nothing can be undone. */
static void log_returned(const cny_source *source)
{
    cny_error *first = NULL;
    size_t count = cny_channel_take_returned(source->channel, &first);
    if (count > 0)
        cny_log_limited(
            &source->handling->log, CNY_LOG_REPLY, CONEY_LOG_ERROR, NULL,
            "queue '%s': a transaction is committed, but %zu of what was sent in it came back and is lost: %s",
            source->handling->spec->options.queue, count, first ? cny_error_view(first)->text : "");
    cny_error_unref(first);
}

void cny_transaction_commit(cny_source *source)
{
    end_transaction(source, "committed", cny_channel_tx_commit);
    log_returned(source);
}

/* ---- replies ---- */

struct cny_sent_reply {
    atomic_uint refs; /* of its delivery, and until its outcome is told; not of one that is waited for at once */
    pthread_mutex_t lock;
    bool is_told;   /* under lock: the outcome is known */
    cny_lane *lane; /* under lock: is scheduled then; NULL: none is */
    cny_address to;
    coney_message *message; /* a reference */
    cny_reply_watch before;
    cny_publishing publishing;
};

static coney_status find_address(cny_address *to, const coney_delivery *delivery)
{
    const char *send_to = delivery->source->handling->spec->options.send_to;
    if (cny_address_of_requester(to, delivery->message))
        return CONEY_OK;
    if (!send_to)
        return cny_fail(CONEY_E_INVALID, "the request names no reply_to, and its listener no send_to");
    cny_address_parse(to, send_to);
    return CONEY_OK;
}

/* Runs a processor of the program on a reply; the reply may be replaced, and NULL discards it. */
typedef coney_status reply_step(const coney_delivery *delivery, coney_message **reply, const cny_address *to);

static coney_status run_reply_processor(const coney_delivery *delivery, coney_message **reply, const cny_address *to)
{
    const coney_processor *processor = &delivery->source->handling->spec->options.reply_processor;
    return processor->process ? processor->process(reply, to->exchange, to->routing_key, processor->user) : CONEY_OK;
}

static coney_status run_reply_callback(const coney_delivery *delivery, coney_message **reply, const cny_address *to)
{
    (void)to;
    const coney_listener *options = &delivery->source->handling->spec->options;
    return options->process_reply ? options->process_reply(reply, delivery, options->user) : CONEY_OK;
}

static coney_status run_step(reply_step *step, const coney_delivery *delivery, coney_message **reply,
                             const cny_address *to)
{
    coney_message *before = *reply;
    if (!before)
        return CONEY_OK;
    cny_forget_failure();
    coney_status status = step(delivery, reply, to);
    if (*reply != before)
        coney_message_unref(before);
    if (status != CONEY_OK && coney_last_error_details()->status != status)
        cny_fail(status, "the reply processor answered %s without saying why", coney_status_name(status));
    return status;
}

/* Gives the message that is sent: correlated, then processed, in Spring's order. NULL: a processor discards it. */
static coney_status make_reply(coney_message **made, const coney_delivery *delivery, coney_message *reply,
                               const cny_address *to)
{
    *made = NULL;
    coney_status status = cny_correlate(made, delivery->message, reply);
    if (status == CONEY_OK)
        status = run_step(run_reply_callback, delivery, made, to);
    if (status == CONEY_OK)
        status = run_step(run_reply_processor, delivery, made, to);
    if (status == CONEY_OK)
        return CONEY_OK;
    coney_message_unref(*made);
    *made = NULL;
    return status;
}

/* If a request names a place for its reply that does not exist, or whose queue refuses the reply, nobody waits for the
 * reply there. To fail the request would only have it handled again, for ever. But a mistake in send_to is the
 * listener's own, so then the request fails. */
static coney_status judge_outcome(const coney_delivery *delivery, const cny_sent_reply *sent, coney_status status)
{
    cny_handling_context *context = delivery->source->handling->context;
    if (!sent->to.is_requesters || !cny_factory_is_reply_refused(context->factory, &sent->before, status))
        return status;
    cny_log_limited(&delivery->source->handling->log, CNY_LOG_REPLY, CONEY_LOG_WARN, cny_original(delivery),
                    "queue '%s': the reply to message '%s' reaches nobody: %s",
                    delivery->source->handling->spec->options.queue, cny_id_of(delivery->message), coney_last_error());
    return CONEY_OK;
}

static coney_status begin_reply(const coney_delivery *delivery, cny_sent_reply *sent, cny_outcome_function *on_outcome,
                                bool at_once)
{
    cny_handling_context *context = delivery->source->handling->context;
    bool may_be_missing = sent->to.is_requesters && *sent->to.exchange;
    cny_publisher *publisher = may_be_missing ? &context->exchange_replies : &context->replies;
    sent->before = cny_factory_watch_reply(context->factory);
    sent->publishing = (cny_publishing){.publish = {.exchange = sent->to.exchange,
                                                    .routing_key = sent->to.routing_key,
                                                    .message = sent->message,
                                                    .on_outcome = on_outcome,
                                                    .user = sent}};
    return cny_publish_begin(context, publisher, &sent->publishing, at_once);
}

static coney_status finish_reply(const coney_delivery *delivery, cny_sent_reply *sent)
{
    coney_status status = cny_publish_finish(delivery->source->handling->context, &sent->publishing);
    return judge_outcome(delivery, sent, status);
}

/* An exchange that the request names and that is not there costs the channel, a direct reply-to address that is forged
 * the connection, and the transaction with it, so the request comes again, for ever. When it has come again its reply
 * goes by the channel that can be lost. A queue that refuses the reply ends the transaction, too, but RabbitMQ has
 * acknowledged the request then ("partial tx completion"). It is the other messages of the prefetch that come again,
 * and are counted. So a place that has cost a transaction costs no other one. */
static bool may_spoil_transaction(const coney_delivery *delivery, const cny_address *to)
{
    bool may_be_refused = *to->exchange || to->is_direct;
    if (!to->is_requesters)
        return false;
    return (may_be_refused && cny_original(delivery)->redelivered) ||
           has_spoiled(&delivery->source->handling->memory->spoilers, hash_of(to));
}

static coney_status send_confirmed(const coney_delivery *delivery, cny_sent_reply *sent)
{
    coney_status status = begin_reply(delivery, sent, NULL, true);
    if (status != CONEY_OK)
        status = judge_outcome(delivery, sent, status);
    else
        status = finish_reply(delivery, sent);
    cny_waiter_unref(sent->publishing.waiter);
    return status;
}

static bool goes_within(const coney_delivery *delivery, const cny_address *to)
{
    return delivery->source->handling->spec->options.transacted && !may_spoil_transaction(delivery, to);
}

static coney_status send_within(coney_delivery *delivery, const cny_sent_reply *sent)
{
    if (sent->to.is_requesters)
        atomic_store(&delivery->source->replied_to, hash_of(&sent->to));
    return send_in_transaction(delivery, sent->to.exchange, sent->to.routing_key, sent->message, false);
}

/* Finds the address and makes the message. sent->message NULL: the processor discards the reply. */
static coney_status prepare_reply(const coney_delivery *delivery, coney_message *reply, cny_sent_reply *sent)
{
    sent->message = NULL;
    coney_status status = find_address(&sent->to, delivery);
    return status == CONEY_OK ? make_reply(&sent->message, delivery, reply, &sent->to) : status;
}

static coney_status send(coney_delivery *delivery, coney_message *reply)
{
    cny_sent_reply sent;
    coney_status status = prepare_reply(delivery, reply, &sent);
    if (status != CONEY_OK || !sent.message)
        return status;
    status = goes_within(delivery, &sent.to) ? send_within(delivery, &sent) : send_confirmed(delivery, &sent);
    coney_message_unref(sent.message);
    return status;
}

static coney_status fail_reply(const coney_delivery *delivery)
{
    return cny_fail_in("reply to message '%s' of queue '%s'", cny_id_of(delivery->message),
                       delivery->source->handling->spec->options.queue);
}

coney_status coney_delivery_reply(coney_delivery *delivery, coney_message *reply)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || !reply)
        return cny_fail(CONEY_E_INVALID, "reply: delivery or reply is NULL");
    coney_status status = cny_factory_check_process(delivery->source->handling->context->factory);
    if (status == CONEY_OK && delivery->source->handling->spec->options.transacted)
        status = check_transaction(delivery);
    if (status == CONEY_OK)
        status = send(delivery, reply);
    return status == CONEY_OK ? status : fail_reply(delivery);
}

static coney_status reply_made(coney_delivery *delivery, coney_message *reply, coney_status status)
{
    if (status != CONEY_OK)
        return fail_reply(delivery);
    status = coney_delivery_reply(delivery, reply);
    coney_message_unref(reply);
    return status;
}

coney_status coney_delivery_convert_and_reply(coney_delivery *delivery, const void *object)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return cny_fail(CONEY_E_INVALID, "reply: the delivery is NULL");
    const coney_converter *converter = delivery->source->handling->spec->options.reply_converter;
    coney_message *reply = NULL;
    coney_status status = cny_to_message(converter ? converter : coney_json_converter(), &reply, object, NULL);
    return reply_made(delivery, reply, status);
}

coney_status coney_delivery_reply_object(coney_delivery *delivery, const coney_type *type, const void *object)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return cny_fail(CONEY_E_INVALID, "reply: the delivery is NULL");
    coney_message *reply;
    coney_status status = coney_message_new_object(&reply, type, object, NULL);
    return reply_made(delivery, reply, status);
}

/* What becomes of a delivery whose handler has succeeded, but whose reply was sent with this status. */
static coney_status end_reply_left(coney_delivery *delivery, coney_status status, coney_outcome *outcome)
{
    if (status == CONEY_OK)
        return CONEY_OK;
    fail_reply(delivery);
    cny_delivery_say(delivery, cny_error_capture());
    *outcome = CONEY_RETRY;
    return status;
}

coney_status cny_send_reply_left(coney_delivery *delivery, coney_outcome *outcome)
{
    coney_message *reply = atomic_exchange(&delivery->reply, NULL);
    coney_status status = reply ? send(delivery, reply) : CONEY_OK;
    coney_message_unref(reply);
    return end_reply_left(delivery, status, outcome);
}

/* ---- failures ---- */

static coney_status make_failure(coney_message **reply, const coney_delivery *delivery)
{
    const coney_error *failure = cny_error_view(delivery->failure);
    const coney_remote_error error = {.code = coney_status_name(failure ? failure->status : CONEY_E_HANDLER),
                                      .message = failure ? failure->text : "the request was rejected",
                                      .retriable = failure && failure->retriable};
    return coney_message_new_error(reply, &error);
}

static coney_status send_failure(const coney_delivery *delivery, coney_message *reply)
{
    cny_sent_reply sent;
    coney_status status = prepare_reply(delivery, reply, &sent);
    if (status != CONEY_OK || !sent.message)
        return status;
    status = send_confirmed(delivery, &sent);
    coney_message_unref(sent.message);
    return status;
}

void cny_reply_with_failure(coney_delivery *delivery)
{
    cny_address to;
    coney_message *reply = NULL;
    if (!delivery->message || !cny_address_of_requester(&to, delivery->message))
        return;
    coney_status status = make_failure(&reply, delivery);
    if (status == CONEY_OK)
        status = send_failure(delivery, reply);
    coney_message_unref(reply);
    if (status != CONEY_OK)
        cny_log_limited(&delivery->source->handling->log, CNY_LOG_REPLY, CONEY_LOG_WARN, cny_original(delivery),
                        "queue '%s': the sender of request '%s' is not told that it has failed: %s",
                        delivery->source->handling->spec->options.queue, cny_id_of(delivery->message),
                        coney_last_error());
}

/* ---- without waiting ---- */

static void sent_unref(cny_sent_reply *sent)
{
    if (atomic_fetch_sub_explicit(&sent->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&sent->lock);
    cny_waiter_unref(sent->publishing.waiter);
    coney_message_unref(sent->message);
    cny_free(sent);
}

/* Under the locks of the publishing connection and of the events. */
static void on_outcome(void *user, cny_error *error, cny_waiter **told)
{
    cny_sent_reply *sent = user;
    if (told)
        cny_waiter_tell_later(sent->publishing.waiter, error, told);
    else
        cny_waiter_tell(sent->publishing.waiter, error);
    pthread_mutex_lock(&sent->lock);
    sent->is_told = true;
    if (sent->lane)
        cny_workers_schedule(sent->lane->source->handling->context->workers, &sent->lane->task);
    pthread_mutex_unlock(&sent->lock);
    sent_unref(sent);
}

static cny_sent_reply *new_sent(void)
{
    cny_sent_reply *sent = cny_alloc(sizeof *sent);
    if (!sent)
        return NULL;
    atomic_init(&sent->refs, 1);
    pthread_mutex_init(&sent->lock, NULL);
    return sent;
}

/* Its lane does not wait for it any more. */
static void forget_sent(coney_delivery *delivery)
{
    cny_sent_reply *sent = delivery->sent_reply;
    delivery->sent_reply = NULL;
    pthread_mutex_lock(&sent->lock);
    sent->lane = NULL;
    pthread_mutex_unlock(&sent->lock);
    sent_unref(sent);
}

/* CONEY_OK with is_on_its_way: the outcome is still to come. */
static coney_status send_left(coney_delivery *delivery, coney_message *reply, bool at_once, bool *is_on_its_way)
{
    cny_sent_reply *sent = delivery->sent_reply;
    coney_status status = prepare_reply(delivery, reply, sent);
    if (status != CONEY_OK || !sent->message)
        return status;
    atomic_fetch_add_explicit(&sent->refs, 1, memory_order_relaxed);
    status = begin_reply(delivery, sent, on_outcome, at_once);
    *is_on_its_way = status == CONEY_OK && sent->publishing.channel;
    if (!*is_on_its_way)
        sent_unref(sent);
    return status == CONEY_OK ? status : judge_outcome(delivery, sent, status);
}

bool cny_reply_begin(coney_delivery *delivery, coney_outcome *outcome, bool at_once)
{
    bool is_on_its_way = false;
    delivery->sent_reply = new_sent();
    if (!delivery->sent_reply) {
        cny_send_reply_left(delivery, outcome);
        return false;
    }
    coney_message *reply = atomic_exchange(&delivery->reply, NULL);
    coney_status status = send_left(delivery, reply, at_once, &is_on_its_way);
    coney_message_unref(reply);
    if (is_on_its_way)
        return true;
    end_reply_left(delivery, status, outcome);
    forget_sent(delivery);
    return false;
}

bool cny_reply_is_done(const coney_delivery *delivery)
{
    return cny_publish_is_done(&delivery->sent_reply->publishing);
}

bool cny_reply_wake_lane(const coney_delivery *delivery, cny_lane *lane)
{
    cny_sent_reply *sent = delivery->sent_reply;
    pthread_mutex_lock(&sent->lock);
    sent->lane = sent->is_told ? NULL : lane;
    bool will_wake = !sent->is_told;
    pthread_mutex_unlock(&sent->lock);
    return will_wake;
}

int64_t cny_reply_deadline(const coney_delivery *delivery)
{
    return delivery->sent_reply->publishing.deadline;
}

coney_outcome cny_reply_finish(coney_delivery *delivery)
{
    coney_outcome outcome = CONEY_ACK;
    end_reply_left(delivery, finish_reply(delivery, delivery->sent_reply), &outcome);
    forget_sent(delivery);
    return outcome;
}
