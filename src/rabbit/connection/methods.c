/* SPDX-License-Identifier: MIT */
/* The methods that have a reply: each is encoded, called, and named in the error if it fails. Declarations may also be
 * sent many at a time. Any thread. Knows nothing of when a method is needed. */
#include "rabbit/connection/publish.h"

#include <stdio.h>
#include <string.h>

enum { FRAME_ROOM = 1280 };

/* One call from encoding to cleaning up. The statement between prepare() and perform() encodes the frame. */
typedef struct call {
    cny_channel *channel;
    cny_buffer frame;
    uint8_t room[FRAME_ROOM];
} call;

static void prepare(call *one, cny_channel *channel)
{
    one->channel = channel;
    cny_buffer_on_stack(&one->frame, one->room, sizeof one->room);
}

/* `encoded` is the status of encoding into one->frame. */
static coney_status perform(call *one, coney_status encoded, uint32_t awaited, cny_incoming *reply, int64_t deadline)
{
    coney_status status = encoded;
    if (status == CONEY_OK)
        status = cny_channel_call(one->channel, &one->frame, awaited, reply, deadline);
    cny_buffer_free(&one->frame);
    return status;
}

static uint32_t frame_max(const cny_channel *channel)
{
    return channel->connection->limits.frame_max;
}

static coney_status perform_plain(cny_channel *channel, coney_status (*encode)(cny_buffer *, uint16_t),
                                  uint32_t awaited, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    return perform(&one, encode(&one.frame, channel->number), awaited, NULL, deadline);
}

coney_status cny_channel_confirm_select(cny_channel *channel, const cny_confirm_options *options, int64_t deadline)
{
    coney_status status = cny_channel_start_confirms(channel, options);
    if (status != CONEY_OK)
        return status;
    status = perform_plain(channel, cny_encode_confirm_select, CNY_CONFIRM_SELECT_OK, deadline);
    return status == CONEY_OK ? status : cny_fail_in("switch on publisher confirms");
}

coney_status cny_channel_tx_select(cny_channel *channel, int64_t deadline)
{
    return perform_plain(channel, cny_encode_tx_select, CNY_TX_SELECT_OK, deadline);
}

coney_status cny_channel_tx_commit(cny_channel *channel, int64_t deadline)
{
    return perform_plain(channel, cny_encode_tx_commit, CNY_TX_COMMIT_OK, deadline);
}

coney_status cny_channel_tx_rollback(cny_channel *channel, int64_t deadline)
{
    return perform_plain(channel, cny_encode_tx_rollback, CNY_TX_ROLLBACK_OK, deadline);
}

int cny_channel_broker_version(const cny_channel *channel)
{
    return channel->connection->limits.broker_version;
}

coney_status cny_channel_check_release(const cny_channel *channel, int needed, const char *what, const char *way_out)
{
    int version = cny_channel_broker_version(channel);
    char broker[64] = "which does not tell its release";
    if (version >= needed)
        return CONEY_OK;
    if (version > 0)
        snprintf(broker, sizeof broker, "RabbitMQ %d.%d", version / 1000, version % 1000);
    return cny_fail(CONEY_E_INVALID, "%s needs RabbitMQ %d.%d or newer; this broker, %s, would ignore it; %s", what,
                    needed / 1000, needed % 1000, broker, way_out);
}

/* Older brokers accept an argument that they do not know, so nobody would notice that messages are not delayed. */
static coney_status check_release(const cny_channel *channel, const coney_queue *queue)
{
    const struct {
        bool is_set;
        int needed;
        const char *field, *way_out;
    } all[] = {
        {queue->delayed_retry > CONEY_DELAYED_RETRY_DISABLED, CNY_BROKER_VERSION(4, 3), "delayed_retry",
         "leave it out, and let the listener wait with retry.delays_ms"},
        {queue->consumer_timeout_ms > 0, CNY_BROKER_VERSION(3, 12), "consumer_timeout_ms",
         "leave it out, and set consumer_timeout in the broker's configuration"},
        {queue->consumer_disconnected_timeout_ms > 0, CNY_BROKER_VERSION(4, 3), "consumer_disconnected_timeout_ms",
         "leave it out: there the messages of a lost node go to others at once"},
    };
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < sizeof all / sizeof *all && status == CONEY_OK; i++) {
        if (all[i].is_set)
            status = cny_channel_check_release(channel, all[i].needed, all[i].field, all[i].way_out);
    }
    return status;
}

/* RabbitMQ before 4.0 does not know "no limit": it accepts -1 and drops the message at its first return. */
static coney_status encode_queue(cny_buffer *out, const cny_channel *channel, const coney_queue *queue, bool passive)
{
    coney_queue copy = *queue;
    if (!passive && check_release(channel, queue) != CONEY_OK)
        return CONEY_E_INVALID;
    if (copy.delivery_limit < 0 && cny_channel_broker_version(channel) < CNY_BROKER_VERSION(4, 0))
        copy.delivery_limit = 0;
    return cny_encode_queue_declare(out, channel->number, frame_max(channel), &copy, passive);
}

coney_status cny_channel_declare_queue(cny_channel *channel, const coney_queue *queue, bool passive,
                                       coney_queue_info *info, int64_t deadline)
{
    call one;
    cny_incoming reply;
    prepare(&one, channel);
    coney_status status = encode_queue(&one.frame, channel, queue, passive);
    status = perform(&one, status, CNY_QUEUE_DECLARE_OK, &reply, deadline);
    if (status != CONEY_OK)
        return cny_fail_in("%s queue '%s'", passive ? "look at" : "declare", queue->name);
    if (info) {
        memcpy(info->name, reply.text, sizeof info->name);
        info->message_count = reply.message_count;
        info->consumer_count = reply.consumer_count;
    }
    return CONEY_OK;
}

coney_status cny_channel_declare_exchange(cny_channel *channel, const coney_exchange *exchange, bool passive,
                                          int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status =
        cny_encode_exchange_declare(&one.frame, channel->number, frame_max(channel), exchange, passive);
    status = perform(&one, status, CNY_EXCHANGE_DECLARE_OK, NULL, deadline);
    return status == CONEY_OK ? status
                              : cny_fail_in("%s exchange '%s'", passive ? "look at" : "declare", exchange->name);
}

static coney_status fail_binding(const char *verb, const coney_binding *binding)
{
    return cny_fail_in("%s %s '%s' %s exchange '%s' with routing key '%s'", verb,
                       binding->to_exchange ? "exchange" : "queue", binding->destination,
                       strcmp(verb, "bind") == 0 ? "to" : "from", binding->exchange,
                       binding->routing_key ? binding->routing_key : "");
}

coney_status cny_channel_bind(cny_channel *channel, const coney_binding *binding, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status = cny_encode_bind(&one.frame, channel->number, frame_max(channel), binding);
    status = perform(&one, status, binding->to_exchange ? CNY_EXCHANGE_BIND_OK : CNY_QUEUE_BIND_OK, NULL, deadline);
    return status == CONEY_OK ? status : fail_binding("bind", binding);
}

coney_status cny_channel_unbind(cny_channel *channel, const coney_binding *binding, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status = cny_encode_unbind(&one.frame, channel->number, frame_max(channel), binding);
    status = perform(&one, status, binding->to_exchange ? CNY_EXCHANGE_UNBIND_OK : CNY_QUEUE_UNBIND_OK, NULL, deadline);
    return status == CONEY_OK ? status : fail_binding("unbind", binding);
}

/* The rest of a call whose reply counts messages. */
static coney_status perform_counting(call *one, coney_status encoded, uint32_t awaited, const char *verb,
                                     const char *queue, uint32_t *messages, int64_t deadline)
{
    cny_incoming reply;
    if (perform(one, encoded, awaited, &reply, deadline) != CONEY_OK)
        return cny_fail_in("%s queue '%s'", verb, queue);
    if (messages)
        *messages = reply.message_count;
    return CONEY_OK;
}

coney_status cny_channel_delete_queue(cny_channel *channel, const char *queue, const coney_delete_options *options,
                                      uint32_t *messages, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status =
        cny_encode_queue_delete(&one.frame, channel->number, queue, options->if_unused, options->if_empty);
    return perform_counting(&one, status, CNY_QUEUE_DELETE_OK, "delete", queue, messages, deadline);
}

coney_status cny_channel_purge(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status = cny_encode_queue_purge(&one.frame, channel->number, queue);
    return perform_counting(&one, status, CNY_QUEUE_PURGE_OK, "purge", queue, messages, deadline);
}

coney_status cny_channel_delete_exchange(cny_channel *channel, const char *exchange, bool if_unused, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status = cny_encode_exchange_delete(&one.frame, channel->number, exchange, if_unused);
    status = perform(&one, status, CNY_EXCHANGE_DELETE_OK, NULL, deadline);
    return status == CONEY_OK ? status : cny_fail_in("delete exchange '%s'", exchange);
}

coney_status cny_channel_consume(cny_channel *channel, const cny_consume *consume, int prefetch, int64_t deadline)
{
    call one;
    prepare(&one, channel);
    coney_status status = cny_encode_qos(&one.frame, channel->number, (uint16_t)prefetch);
    status = perform(&one, status, CNY_BASIC_QOS_OK, NULL, deadline);
    if (status != CONEY_OK)
        return cny_fail_in("set the prefetch for queue '%s'", consume->queue);
    cny_channel_lock(channel);
    channel->feed.prefetch = prefetch;
    snprintf(channel->feed.queue, sizeof channel->feed.queue, "%s", consume->queue);
    cny_channel_unlock(channel);
    prepare(&one, channel);
    status = cny_encode_consume(&one.frame, channel->number, frame_max(channel), consume);
    status = perform(&one, status, CNY_BASIC_CONSUME_OK, NULL, deadline);
    return status == CONEY_OK ? status : cny_fail_in("consume from queue '%s'", consume->queue);
}

coney_status cny_channel_get(cny_channel *channel, const char *queue, coney_message **message, int64_t deadline)
{
    call one;
    cny_incoming reply = {0};
    prepare(&one, channel);
    coney_status status = cny_encode_get(&one.frame, channel->number, queue);
    status = perform(&one, status, CNY_BASIC_GET_OK, &reply, deadline);
    *message = reply.message;
    return status;
}

/* ---- declarations, many on their way at a time ---- */

static coney_status encode_declaration(cny_buffer *out, const cny_channel *channel, cny_declaration_kind kind,
                                       const void *thing, bool passive)
{
    uint16_t number = channel->number;
    switch (kind) {
    case CNY_DECLARE_EXCHANGE: return cny_encode_exchange_declare(out, number, frame_max(channel), thing, passive);
    case CNY_DECLARE_QUEUE: return encode_queue(out, channel, thing, passive);
    case CNY_DECLARE_EXCHANGE_BINDING:
    case CNY_DECLARE_QUEUE_BINDING: break;
    }
    return cny_encode_bind(out, number, frame_max(channel), thing);
}

/* Under lock. All declarations that are on their way are of one kind. */
static coney_status append_declaration(cny_channel *channel, const cny_buffer *frame, cny_declaration_kind kind)
{
    static const uint32_t requests[] = {CNY_EXCHANGE_DECLARE, CNY_QUEUE_DECLARE, CNY_EXCHANGE_BIND, CNY_QUEUE_BIND};
    static const uint32_t replies[] = {CNY_EXCHANGE_DECLARE_OK, CNY_QUEUE_DECLARE_OK, CNY_EXCHANGE_BIND_OK,
                                       CNY_QUEUE_BIND_OK};
    if (channel->reason)
        return cny_error_raise(channel->reason);
    if (!cny_buffer_append(&channel->connection->outbox.outgoing.bytes, frame->data, frame->size))
        return cny_fail_memory();
    if (channel->series.unanswered == 0)
        channel->series.answered_ms = cny_now_ms();
    channel->calling = requests[kind];
    channel->series.reply = replies[kind];
    channel->series.unanswered++;
    cny_connection_appended(channel->connection, frame->size);
    return CONEY_OK;
}

coney_status cny_channel_send_declaration(cny_channel *channel, cny_declaration_kind kind, const void *thing,
                                          bool passive)
{
    uint8_t room[FRAME_ROOM];
    cny_buffer frame;
    cny_buffer_on_stack(&frame, room, sizeof room);
    coney_status status = encode_declaration(&frame, channel, kind, thing, passive);
    if (status == CONEY_OK) {
        cny_channel_lock(channel);
        status = append_declaration(channel, &frame, kind);
        cny_channel_unlock(channel);
    }
    cny_buffer_free(&frame);
    return status;
}

coney_status cny_channel_await_declarations(cny_channel *channel, size_t left, int timeout_ms, size_t *unanswered)
{
    coney_status status = CONEY_OK;
    cny_channel_lock(channel);
    cny_series *series = &channel->series;
    channel->connection->pacing.waiting_for_answer++;
    while (series->unanswered > left && !channel->reason && status == CONEY_OK) {
        int64_t deadline = series->answered_ms + timeout_ms;
        series->wake_at = left;
        if (!cny_cond_wait(&channel->changed, &channel->connection->lock, deadline) &&
            cny_now_ms() >= series->answered_ms + timeout_ms)
            status = cny_fail(CONEY_E_TIMEOUT, "no answer from the broker within %d ms", timeout_ms);
    }
    channel->connection->pacing.waiting_for_answer--;
    *unanswered = series->unanswered;
    if (series->unanswered > left && channel->reason)
        status = cny_error_raise(channel->reason);
    cny_channel_unlock(channel);
    return status;
}

bool cny_series_take_answer(cny_channel *channel, const cny_incoming *incoming)
{
    cny_series *series = &channel->series;
    if (series->unanswered == 0 || incoming->method != series->reply)
        return false;
    series->answered_ms = cny_now_ms();
    if (--series->unanswered == 0)
        channel->calling = 0;
    if (series->unanswered <= series->wake_at)
        pthread_cond_broadcast(&channel->changed);
    return true;
}
