/* SPDX-License-Identifier: MIT */
/* Receives one message: by basic.get, on a channel that stays open for the next call, or by a consumer for one
 * message. On the caller's thread, which alone uses the channel until the call returns. */
#include "rabbit/template/options.h"
#include "rabbit/template/processors.h"

#include <coney/rabbit/receive.h>
#include <coney/rabbit/typed.h>

#include <string.h>

typedef enum channel_end {
    CLOSE,
    CLOSE_AND_WAIT, /* so that the next call finds the message in its queue */
    REUSE,          /* for the next basic.get */
} channel_end;

/* A message that is not settled yet, and the channel that it came on. */
typedef struct reception {
    coney_template *sender;
    cny_channel *channel;
    coney_message *message; /* NULL: the queue had none */
    uint64_t delivery_tag;  /* of the delivery; a processor may have replaced the message */
    const char *queue;      /* that the message came from */
    channel_end end;        /* what becomes of the channel when the message is settled */
} reception;

/* ---- channels ---- */

static coney_status take_channel(coney_template *sender, cny_channel **channel, int64_t deadline)
{
    pthread_mutex_lock(&sender->lock);
    *channel = sender->receiver;
    sender->receiver = NULL;
    pthread_mutex_unlock(&sender->lock);
    if (*channel && cny_channel_alive(*channel))
        return CONEY_OK;
    cny_channel_unref(*channel);
    *channel = NULL;
    return cny_channel_open(channel, sender->factory, CONEY_CONSUMING, false, deadline);
}

/* Keeps a live channel for the next call, unless the template has one already. */
static void put_back(coney_template *sender, cny_channel *channel)
{
    pthread_mutex_lock(&sender->lock);
    bool keep = !sender->receiver && cny_channel_alive(channel);
    if (keep)
        sender->receiver = channel;
    pthread_mutex_unlock(&sender->lock);
    if (keep)
        return;
    cny_channel_close(channel);
    cny_channel_unref(channel);
}

static void release(reception *one)
{
    cny_channel *channel = one->channel;
    one->channel = NULL;
    if (!channel)
        return;
    if (one->end == REUSE) {
        put_back(one->sender, channel);
        return;
    }
    if (one->end == CLOSE_AND_WAIT)
        cny_channel_close_and_wait(channel, cny_deadline(one->sender->options.timeout_ms));
    cny_channel_close(channel);
    cny_channel_unref(channel);
}

/* ---- one message ---- */

static coney_status get(reception *one, const char *queue, int64_t deadline)
{
    one->end = REUSE;
    coney_status status = take_channel(one->sender, &one->channel, deadline);
    if (status == CONEY_OK)
        status = cny_channel_get(one->channel, queue, &one->message, deadline);
    return status == CONEY_OK ? status : cny_fail_in("receive from queue '%s'", queue);
}

/* With a prefetch of 1 the batch has at most one message. */
static void take_first(cny_buffer *batch, coney_message **message)
{
    coney_message **all = (coney_message **)(void *)batch->data;
    for (size_t i = 1; i < batch->size / sizeof *all; i++)
        coney_message_unref(all[i]);
    *message = batch->size > 0 ? all[0] : NULL;
    cny_buffer_free(batch);
}

/* Cancels the consumer before the message is settled, so that no other message comes. A message that comes before the
 * consumer has ended is returned even after timeout_ms: otherwise the next call would not find it, because it would be
 * on its way back to the queue. */
static coney_status consume(reception *one, const char *queue, int timeout_ms, int64_t deadline)
{
    const cny_consume what = {.queue = queue, .arguments = one->sender->options.receive_arguments};
    coney_status status = cny_channel_open(&one->channel, one->sender->factory, CONEY_CONSUMING, false, deadline);
    if (status == CONEY_OK)
        status = cny_channel_consume(one->channel, &what, 1, deadline);
    if (status != CONEY_OK)
        return cny_fail_in("receive from queue '%s'", queue);
    cny_buffer batch = {0};
    status = cny_channel_receive(one->channel, &batch, cny_deadline(timeout_ms));
    cny_channel_cancel(one->channel);
    if (status == CONEY_E_TIMEOUT)
        status = cny_channel_receive(one->channel, &batch, cny_deadline(one->sender->options.timeout_ms));
    take_first(&batch, &one->message);
    if (status == CONEY_E_TIMEOUT)
        return CONEY_OK;
    return status == CONEY_OK ? status : cny_fail_in("receive from queue '%s'", queue);
}

/* Settles the message and gives the channel back. */
static coney_status settle(reception *one, cny_settlement settlement)
{
    coney_status status = cny_channel_settle(one->channel, one->delivery_tag, settlement);
    if (settlement == CNY_SETTLE_REQUEUE)
        one->end = CLOSE_AND_WAIT;
    else if (status != CONEY_OK) /* a closed channel leaves no delivery unacknowledged */
        one->end = CLOSE;
    release(one);
    return status == CONEY_E_STALE ? cny_fail(CONEY_E_LOST, "%s; the message is delivered again", coney_last_error())
                                   : status;
}

/* Settles after a failure, which stays this thread's last error. */
static coney_status settle_failed(reception *one, cny_settlement settlement)
{
    cny_error *error = cny_error_capture();
    settle(one, settlement);
    coney_status status = cny_error_raise(error);
    cny_error_unref(error);
    return status;
}

/* Rejects the message without requeuing it, as a container does, unless the reason is lack of memory. */
static coney_status refuse(reception *one)
{
    bool lacks_memory = coney_last_error_details()->status == CONEY_E_NO_MEMORY;
    if (!lacks_memory)
        cny_fail_in("receive from queue '%s': message '%s' is rejected", one->queue, cny_id_of(one->message));
    coney_status status = settle_failed(one, lacks_memory ? CNY_SETTLE_REQUEUE : CNY_SETTLE_REJECT);
    coney_message_unref(one->message);
    one->message = NULL;
    return status;
}

static coney_status check(coney_template *sender, const char **queue, int timeout_ms)
{
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "receive: the template is NULL");
    if (timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "receive: timeout_ms is %d, which is below 0; 0 does not wait", timeout_ms);
    coney_status status = cny_template_receive_queue(sender, queue);
    if (status == CONEY_OK)
        status = cny_factory_check_process(sender->factory);
    return status == CONEY_OK ? cny_factory_check_draining(sender->factory) : status;
}

/* After CONEY_OK with a message the caller must settle it; otherwise the channel has been given back. */
static coney_status receive(reception *one, coney_template *sender, const char *queue, int timeout_ms)
{
    *one = (reception){.sender = sender};
    coney_status status = check(sender, &queue, timeout_ms);
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(sender->options.timeout_ms);
    status = timeout_ms == 0 ? get(one, queue, deadline) : consume(one, queue, timeout_ms, deadline);
    if (status != CONEY_OK || !one->message) {
        release(one);
        return status;
    }
    one->delivery_tag = one->message->delivery_tag;
    one->queue = queue;
    if (cny_template_process_received(sender, &one->message) != CONEY_OK)
        return refuse(one);
    return one->message ? CONEY_OK : settle(one, CNY_SETTLE_ACK);
}

/* ---- receiving ---- */

coney_status coney_template_receive(coney_template *sender, const char *queue, coney_message **message, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!message)
        return cny_fail(CONEY_E_INVALID, "receive: message is NULL");
    *message = NULL;
    reception one;
    coney_status status = receive(&one, sender, queue, timeout_ms);
    if (status != CONEY_OK || !one.message)
        return status;
    status = settle(&one, CNY_SETTLE_ACK);
    if (status == CONEY_OK)
        *message = one.message;
    else
        coney_message_unref(one.message);
    return status;
}

/* ---- receiving and converting ---- */

/* Acknowledges the message if it was converted, rejects it if it was not, and ends the reception. */
static coney_status settle_converted(reception *one, coney_status converted)
{
    if (converted != CONEY_OK)
        return refuse(one);
    coney_status status = settle(one, CNY_SETTLE_ACK);
    coney_message_unref(one->message);
    return status;
}

coney_status coney_template_receive_and_convert(coney_template *sender, const char *queue, void **object,
                                                int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!object)
        return cny_fail(CONEY_E_INVALID, "receive: object is NULL");
    *object = NULL;
    reception one;
    coney_status status = receive(&one, sender, queue, timeout_ms);
    if (status != CONEY_OK || !one.message)
        return status;
    const coney_converter *converter = sender->options.converter;
    void *made = NULL;
    coney_status converted = cny_from_message(converter, &made, one.message);
    if (converted != CONEY_OK)
        cny_fail_in("convert from %s", converter->name);
    status = settle_converted(&one, converted);
    if (status == CONEY_OK)
        *object = made;
    else if (converted == CONEY_OK)
        converter->free_object(made);
    return status;
}

coney_status coney_template_receive_object(coney_template *sender, const char *queue, const coney_type *type,
                                           void **object, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!object)
        return cny_fail(CONEY_E_INVALID, "receive: object is NULL");
    *object = NULL;
    if (coney_type_check(type) != CONEY_OK) /* before a message is taken, which must not pay for this */
        return cny_fail_in("receive");
    reception one;
    coney_status status = receive(&one, sender, queue, timeout_ms);
    if (status != CONEY_OK || !one.message)
        return status;
    status = settle_converted(&one, coney_message_object(object, one.message, type));
    if (status != CONEY_OK) {
        coney_object_free(*object);
        *object = NULL;
    }
    return status;
}

coney_status coney_template_receive_content(coney_template *sender, const char *queue, coney_content **content,
                                            int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!content)
        return cny_fail(CONEY_E_INVALID, "receive: content is NULL");
    *content = NULL;
    reception one;
    coney_status status = receive(&one, sender, queue, timeout_ms);
    if (status != CONEY_OK || !one.message)
        return status;
    const coney_types *types = sender->options.types.count > 0 ? &sender->options.types : NULL;
    status = settle_converted(&one, coney_message_content(content, one.message, types));
    if (status != CONEY_OK) {
        coney_content_free(*content);
        *content = NULL;
    }
    return status;
}

/* ---- receiving and replying ---- */

static coney_status find_address(cny_address *to, const coney_template *sender, const coney_message *request,
                                 const coney_reply_options *options)
{
    if (cny_address_of_requester(to, request))
        return CONEY_OK;
    *to = (cny_address){.exchange = options->exchange, .routing_key = options->routing_key};
    bool nowhere =
        !options->exchange && !options->routing_key && !*sender->options.exchange && !*sender->options.routing_key;
    return nowhere ? cny_fail(CONEY_E_INVALID, "the request names no reply_to, and neither the options nor the "
                                               "template say where its reply goes")
                   : CONEY_OK;
}

static coney_status send_to(const cny_address *to, const reception *one, coney_message *reply,
                            const coney_reply_options *options)
{
    bool drops = options->drop_unroutable || to->is_direct || (to->is_requesters && !options->return_unroutable);
    const coney_send_options how = {
        .exchange = to->exchange, .drop_unroutable = drops, .return_unroutable = !drops && options->return_unroutable};
    coney_message *correlated;
    const coney_value *id =
        options->correlation_header ? coney_message_header(one->message, options->correlation_header) : NULL;
    coney_status status = id ? coney_message_with_header(&correlated, reply, options->correlation_header, id)
                             : cny_correlate(&correlated, one->message, reply);
    if (status != CONEY_OK)
        return status;
    status = coney_template_send(one->sender, to->routing_key, correlated, &how);
    coney_message_unref(correlated);
    return status;
}

static bool is_nowhere(const cny_address *to, coney_connection_factory *factory, const cny_reply_watch *before,
                       coney_status status)
{
    if (cny_factory_is_reply_refused(factory, before, status))
        return true;
    return status == CONEY_E_INVALID && (cny_check_name("exchange", to->exchange) != CONEY_OK ||
                                         cny_check_name("routing key", to->routing_key) != CONEY_OK);
}

/* The requester names the address of the reply. If the broker does not take the reply there, that is not this program's
 * failure, and nobody waits for the reply. */
static coney_status send_reply(const reception *one, coney_message *reply, const coney_reply_options *options)
{
    cny_address to;
    const cny_reply_watch before = cny_factory_watch_reply(one->sender->factory);
    coney_status status = find_address(&to, one->sender, one->message, options);
    if (status == CONEY_OK)
        status = send_to(&to, one, reply, options);
    bool is_told = status == CONEY_OK || !to.is_requesters || options->return_unroutable;
    if (is_told || !is_nowhere(&to, one->sender->factory, &before, status))
        return status;
    cny_log(CONEY_LOG_WARN, "queue '%s': the reply to message '%s' reaches nobody: %s", one->queue,
            cny_id_of(one->message), coney_last_error());
    return CONEY_OK;
}

static coney_status answer(const reception *one, const coney_reply_options *options, coney_reply_callback *callback,
                           void *user)
{
    coney_message *reply = NULL;
    cny_forget_failure();
    coney_status status = callback(one->message, &reply, user);
    if (status != CONEY_OK && coney_last_error_details()->status != status)
        cny_fail(status, "it returned %s and does not say why", coney_status_name(status));
    if (status != CONEY_OK)
        cny_fail_in("the reply callback failed");
    else if (reply)
        status = send_reply(one, reply, options);
    coney_message_unref(reply);
    return status == CONEY_OK ? status : cny_fail_in("reply");
}

coney_status coney_template_receive_and_reply(coney_template *sender, const char *queue,
                                              const coney_reply_options *options, bool *received,
                                              coney_reply_callback *callback, void *user)
{
    CNY_DISABLE_CANCEL();
    static const coney_reply_options defaults;
    if (!options)
        options = &defaults;
    if (received)
        *received = false;
    if (!callback)
        return cny_fail(CONEY_E_INVALID, "receive and reply: the callback is NULL");
    if (options->drop_unroutable && options->return_unroutable)
        return cny_fail(CONEY_E_INVALID,
                        "receive and reply: drop_unroutable and return_unroutable contradict each other; set one");
    reception one;
    coney_status status = receive(&one, sender, queue, options->timeout_ms);
    if (status != CONEY_OK || !one.message)
        return status;
    if (cny_request_time_left(one.message) == 0) {
        cny_fail(CONEY_E_TIMEOUT, "its sender does not wait any more");
        return refuse(&one);
    }
    if (received)
        *received = true;
    status = answer(&one, options, callback, user);
    status = status == CONEY_OK ? settle(&one, CNY_SETTLE_ACK) : settle_failed(&one, CNY_SETTLE_REQUEUE);
    coney_message_unref(one.message);
    return status;
}
