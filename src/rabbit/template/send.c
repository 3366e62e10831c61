/* SPDX-License-Identifier: MIT */
/* Sends: checks a message, fills in the template's options, and publishes the message on a channel of the template or
 * puts it into the store. On the sender's thread. (Spring: RabbitTemplate.) */
#include "rabbit/template/send.h"
#include "rabbit/template/channels.h"
#include "rabbit/template/options.h"
#include "rabbit/template/processors.h"
#include "rabbit/template/unsent.h"

/* ---- on a channel ---- */

typedef coney_status get_function(coney_template *sender, cny_channel **channel, int64_t deadline);
typedef coney_status publish_function(cny_channel *channel, const cny_publish *publish, int64_t deadline);

static coney_status check_publish(const cny_publish *publish)
{
    if (!publish->message)
        return cny_fail(CONEY_E_INVALID, "the message is NULL");
    coney_status status = cny_check_name("exchange", publish->exchange);
    return status == CONEY_OK ? cny_check_name("routing key", publish->routing_key) : status;
}

/* Gets a channel, waits until the message's exchange and queue are declared, and publishes. If the channel is dead
 * before anything was written, this begins anew with another channel, until the deadline. */
static coney_status publish_by(coney_template *sender, const cny_publish *publish, get_function *get_channel,
                               publish_function *function, int64_t deadline)
{
    coney_status status;
    do {
        cny_channel *channel = NULL;
        status = get_channel(sender, &channel, deadline);
        if (status != CONEY_OK)
            return status;
        status = cny_declarations_wait(sender->factory, publish->exchange, publish->routing_key,
                                       publish->flow == CONEY_FLOW_FAIL ? 0 : deadline);
        if (status == CONEY_OK)
            status = function(channel, publish, deadline);
        cny_channel_unref(channel);
    } while (status == CONEY_E_STALE && cny_now_ms() < deadline);
    return status == CONEY_E_STALE ? cny_fail(CONEY_E_CONNECT, "not sent by the deadline: %s", coney_last_error())
                                   : status;
}

/* ---- or into the store ---- */

static coney_status fail_store_full(const coney_template *sender)
{
    const cny_store *store = &sender->store;
    coney_connection_info info = {0};
    coney_connection_factory_info(sender->factory, CONEY_PUBLISHING, &info);
    return cny_fail(
        CONEY_E_LIMIT,
        "the store is full: %zu messages, %zu bytes (max_messages %d, max_bytes %zu); the connection: %.255s",
        store->messages, store->bytes, store->limits->max_messages, store->limits->max_bytes, info.text);
}

/* Under lock. */
static coney_status add_to_store(coney_template *sender, cny_stored *added)
{
    cny_store *store = &sender->store;
    coney_status status = cny_store_check(store, added->bytes);
    if (status != CONEY_OK)
        return status;
    if (!cny_store_fits(store, added->bytes)) {
        if (!store->limits->drop_oldest)
            return fail_store_full(sender);
        cny_store_drop_for(store, added->bytes);
    }
    cny_store_put(store, added);
    return CONEY_OK;
}

static coney_status store_message(coney_template *sender, const cny_publish *publish)
{
    size_t bytes;
    coney_status status = cny_publish_check(publish, &bytes);
    if (status == CONEY_OK)
        status = cny_factory_want(sender->factory, CONEY_PUBLISHING); /* after a refused login nothing is stored */
    if (status != CONEY_OK)
        return status;
    cny_stored *added = cny_stored_new(sender, publish, bytes);
    if (!added)
        return cny_fail_memory();
    pthread_mutex_lock(&sender->lock);
    bool first = !sender->store.first;
    status = add_to_store(sender, added);
    pthread_mutex_unlock(&sender->lock);
    if (status != CONEY_OK)
        cny_stored_free(added);
    else if (first)
        cny_factory_wake(sender->factory);
    return status;
}

/* For CONEY_FLOW_STORE: publishes if that needs no waiting, and stores otherwise. */
static coney_status send_or_store(coney_template *sender, const cny_publish *publish)
{
    coney_status status = cny_factory_check_draining(sender->factory);
    if (status != CONEY_OK)
        return status;
    cny_publish now_or_later = *publish;
    now_or_later.flow = CONEY_FLOW_STORE;
    cny_channel *channel = cny_template_channel_for_now(sender);
    if (channel) {
        bool is_declared =
            cny_declarations_wait(sender->factory, publish->exchange, publish->routing_key, 0) == CONEY_OK;
        status = is_declared ? cny_channel_publish(channel, &now_or_later, 0) : CONEY_E_BLOCKED;
        cny_channel_unref(channel);
        if (status != CONEY_E_BLOCKED && status != CONEY_E_LIMIT && status != CONEY_E_STALE)
            return status;
    }
    status = store_message(sender, publish);
    if (status == CONEY_OK)
        cny_template_tell_unsent(sender);
    return status;
}

/* ---- the three ways to send: and wait, on (asynchronously), and forget ---- */

static coney_status publish_and_wait(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    if (cny_publish_must_isolate(sender->factory, publish))
        return cny_publish_isolated(sender->factory, publish, deadline);
    coney_status status = publish_by(sender, publish, cny_template_get_channel, cny_channel_publish_and_wait, deadline);
    cny_publish_note_outcome(sender->factory, publish, status);
    return status;
}

static coney_status send_and_wait(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    return cny_template_retry(sender, publish, publish_and_wait, deadline);
}

static coney_status send_on(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    coney_status status = sender->options.flow == CONEY_FLOW_STORE
                              ? send_or_store(sender, publish)
                              : publish_by(sender, publish, cny_template_get_channel, cny_channel_publish, deadline);
    if (status == CONEY_OK)
        cny_template_watch(sender);
    return status;
}

static coney_status send_and_forget(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    cny_publish unheard = *publish;
    unheard.mandatory = false;
    return publish_by(sender, &unheard, cny_template_get_unconfirmed_channel, cny_channel_publish_unconfirmed,
                      deadline);
}

/* ---- what every send does first ---- */

coney_status cny_template_check_send(const coney_template *sender, const coney_send_options *options)
{
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->properties)
        return cny_fail(CONEY_E_INVALID, "properties belong to the message; give them to coney_message_new()");
    if (options->drop_unroutable && options->return_unroutable)
        return cny_fail(CONEY_E_INVALID, "drop_unroutable and return_unroutable contradict each other; set one");
    coney_status status = cny_template_check_delay(options->delay_ms);
    return status == CONEY_OK ? cny_factory_check_process(sender->factory) : status;
}

coney_status cny_template_prepare(coney_template *sender, const char *routing_key, coney_message *message,
                                  const coney_send_options *options, cny_publish *publish, coney_message **prepared)
{
    static const coney_send_options defaults;
    if (!options)
        options = &defaults;
    if (cny_template_check_send(sender, options) != CONEY_OK)
        return cny_fail_in("send");
    *publish = (cny_publish){
        .exchange = options->exchange ? options->exchange : sender->options.exchange,
        .routing_key = routing_key ? routing_key : sender->options.routing_key,
        .message = message,
        .mandatory = cny_template_is_mandatory(sender, options),
        .flow = sender->options.flow == CONEY_FLOW_FAIL ? CONEY_FLOW_FAIL : CONEY_FLOW_WAIT,
    };
    coney_status status = check_publish(publish);
    if (status == CONEY_OK)
        status = cny_template_process(sender, publish, options->delay_ms, prepared);
    return status == CONEY_OK ? status : cny_template_fail_send(publish);
}

coney_status cny_template_fail_send(const cny_publish *publish)
{
    return cny_fail_in("send to exchange '%.255s' with routing key '%.255s'", publish->exchange, publish->routing_key);
}

/* ---- the calls ---- */

/* How the program asks for the outcome of a send: by one of these, or by none. */
typedef struct outcome_request {
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter;
} outcome_request;

static coney_status send_by(coney_template *sender, const char *routing_key, coney_message *message,
                            const coney_send_options *options, cny_attempt *send, const outcome_request *request)
{
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "send: the template is NULL");
    int64_t deadline = cny_template_deadline(sender, options);
    cny_publish publish = {0};
    coney_message *prepared = NULL;
    coney_status status = cny_template_prepare(sender, routing_key, message, options, &publish, &prepared);
    if (status == CONEY_OK) {
        publish.callback = request->callback;
        publish.user = request->user;
        publish.waiter = request->waiter;
        status = send(sender, &publish, deadline);
        if (status != CONEY_OK)
            cny_template_fail_send(&publish);
    }
    coney_message_unref(prepared);
    return status;
}

coney_status coney_template_send(coney_template *sender, const char *routing_key, coney_message *message,
                                 const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    return send_by(sender, routing_key, message, options, send_and_wait, &(outcome_request){0});
}

coney_status coney_template_send_and_forget(coney_template *sender, const char *routing_key, coney_message *message,
                                            const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (options && options->return_unroutable)
        return cny_fail(CONEY_E_INVALID,
                        "send and forget: return_unroutable is set, but nobody would hear of a return");
    return send_by(sender, routing_key, message, options, send_and_forget, &(outcome_request){0});
}

coney_status coney_template_send_async(coney_template *sender, const char *routing_key, coney_message *message,
                                       const coney_send_options *options, coney_send_callback *on_complete, void *user)
{
    CNY_DISABLE_CANCEL();
    const outcome_request request = {.callback = on_complete, .user = user};
    return send_by(sender, routing_key, message, options, send_on, &request);
}

coney_status coney_template_begin_send(coney_template *sender, coney_confirmation **confirmation,
                                       const char *routing_key, coney_message *message,
                                       const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!confirmation)
        return cny_fail(CONEY_E_INVALID, "send: the place for the confirmation is NULL");
    *confirmation = NULL;
    const outcome_request request = {.waiter = cny_waiter_new()};
    if (!request.waiter)
        return cny_fail_memory();
    coney_status status = send_by(sender, routing_key, message, options, send_on, &request);
    if (status == CONEY_OK)
        *confirmation = request.waiter;
    else
        cny_waiter_unref(request.waiter);
    return status;
}
