/* SPDX-License-Identifier: MIT */
/* The template: checks what is sent, sends it on its channel (channels.c), waits for confirms. Any
 * thread. (Spring: RabbitTemplate.) */
#include "rabbit/template/template.h"

#include <coney/amqp/json.h>

#define DEFAULT_TIMEOUT_MS 10000
#define DEFAULT_MAX_UNCONFIRMED 10000
#define DEFAULT_CONFIRM_TIMEOUT_MS 30000
#define DEFAULT_STORED_MESSAGES 10000
#define DEFAULT_STORED_BYTES ((size_t)64 << 20)
#define LOOK_UP_MS 200

/* ---- life ---- */

static coney_status check_flow(const coney_template_options *options)
{
    const coney_store_options *store = &options->store;
    if (options->flow < CONEY_FLOW_WAIT || options->flow > CONEY_FLOW_STORE)
        return cny_fail(CONEY_E_INVALID, "flow is %d, which is none of CONEY_FLOW_WAIT, _FAIL and _STORE",
                        (int)options->flow);
    if (store->max_messages < 0)
        return cny_fail(CONEY_E_INVALID, "store.max_messages is %d, which is below 0", store->max_messages);
    if (store->max_age_ms < 0)
        return cny_fail(CONEY_E_INVALID, "store.max_age_ms is %d, which is below 0", store->max_age_ms);
    bool given = store->max_messages > 0 || store->max_bytes > 0 || store->max_age_ms > 0 || store->drop_oldest;
    if (given && options->flow != CONEY_FLOW_STORE)
        return cny_fail(CONEY_E_INVALID, "there are options for the store, but flow is not CONEY_FLOW_STORE");
    return CONEY_OK;
}

static coney_status check_options(const coney_template_options *options)
{
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->max_unconfirmed < 0)
        return cny_fail(CONEY_E_INVALID, "max_unconfirmed is %d, which is below 0", options->max_unconfirmed);
    coney_status status = check_flow(options);
    if (status == CONEY_OK)
        status = cny_template_check_retry(&options->retry);
    if (status == CONEY_OK)
        status = cny_check_name("exchange", options->exchange);
    if (status == CONEY_OK)
        status = cny_check_name("routing key", options->routing_key);
    if (status == CONEY_OK)
        status = cny_check_name("receive_queue", options->receive_queue);
    return status == CONEY_OK ? cny_check_name("user_id", options->user_id) : status;
}

static coney_status copy_options(coney_template *sender, const coney_template_options *given)
{
    coney_template_options *own = &sender->options;
    *own = *given;
    bool copied = cny_arena_strdup(&sender->arena, &own->exchange, given->exchange ? given->exchange : "") &&
                  cny_arena_strdup(&sender->arena, &own->routing_key, given->routing_key ? given->routing_key : "") &&
                  cny_arena_strdup(&sender->arena, &own->receive_queue, given->receive_queue) &&
                  cny_arena_strdup(&sender->arena, &own->user_id, given->user_id);
    if (!copied)
        return cny_fail_memory();
    own->receive_arguments = given->receive_arguments ? cny_table_copy(&sender->arena, given->receive_arguments) : NULL;
    if (given->receive_arguments && !own->receive_arguments)
        return cny_fail_memory();
    if (!own->converter)
        own->converter = coney_json_converter();
    own->retry = cny_template_retry_defaults(own->retry);
    if (own->timeout_ms == 0)
        own->timeout_ms = DEFAULT_TIMEOUT_MS;
    if (own->max_unconfirmed == 0)
        own->max_unconfirmed = DEFAULT_MAX_UNCONFIRMED;
    if (own->confirm_timeout_ms == 0)
        own->confirm_timeout_ms = own->resend_unconfirmed ? -1 : DEFAULT_CONFIRM_TIMEOUT_MS;
    if (own->store.max_messages == 0)
        own->store.max_messages = DEFAULT_STORED_MESSAGES;
    if (own->store.max_bytes == 0)
        own->store.max_bytes = DEFAULT_STORED_BYTES;
    return CONEY_OK;
}

static void free_template(coney_template *sender)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++)
        cny_channel_unref(retired[i]);
    cny_channel_unref(sender->channel);
    cny_channel_close(sender->receiver);
    cny_channel_unref(sender->receiver);
    cny_channel_unref(sender->plain);
    cny_buffer_free(&sender->retired);
    cny_processors_free(&sender->before_publish);
    cny_processors_free(&sender->after_receive);
    cny_arena_free(&sender->arena);
    cny_factory_unref(sender->factory);
    pthread_cond_destroy(&sender->idle);
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

static coney_status drain(void *self, int64_t deadline);
static void abandon(void *self);

static const cny_member membership = {
    .ref = cny_template_ref,
    .unref = cny_template_unref,
    .resend = cny_template_resend,
    .tend = cny_template_tend,
    .drain = drain,
    .abandon = abandon,
};

coney_status coney_template_new(coney_template **sender, coney_connection_factory *factory,
                                const coney_template_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_template_options defaults;
    if (!options)
        options = &defaults;
    if (sender)
        *sender = NULL;
    if (!sender || !factory)
        return cny_fail(CONEY_E_INVALID, "template: sender or factory is NULL");
    if (check_options(options) != CONEY_OK)
        return cny_fail_in("template");
    if (cny_factory_check_process(factory) != CONEY_OK)
        return CONEY_E_STATE;
    coney_template *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    atomic_init(&made->watched, false);
    made->factory = cny_factory_ref(factory);
    made->blocked_us_before = cny_factory_blocked_us(factory);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->idle);
    cny_processors_init(&made->before_publish);
    cny_processors_init(&made->after_receive);
    coney_status status = copy_options(made, options);
    if (status == CONEY_OK)
        status = cny_factory_join(factory, &membership, made);
    if (status != CONEY_OK) {
        free_template(made);
        return status;
    }
    *sender = made;
    return CONEY_OK;
}

/* ---- sending ---- */

typedef coney_status get_function(coney_template *sender, cny_channel **channel, int64_t deadline);
typedef coney_status publish_function(cny_channel *channel, const cny_publish *publish, int64_t deadline);

static coney_status check_publish(const cny_publish *publish)
{
    if (!publish->message)
        return cny_fail(CONEY_E_INVALID, "the message is NULL");
    coney_status status = cny_check_name("exchange", publish->exchange);
    return status == CONEY_OK ? cny_check_name("routing key", publish->routing_key) : status;
}

/* A channel found dead before anything was written is replaced, until the deadline. */
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

static coney_status publish_and_wait(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    if (cny_publish_must_isolate(sender->factory, publish))
        return cny_publish_isolated(sender->factory, publish, deadline);
    coney_status status = publish_by(sender, publish, cny_template_get_channel, cny_channel_publish_and_wait, deadline);
    cny_publish_note(sender->factory, publish, status);
    return status;
}

static coney_status send_and_wait(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    return cny_template_retry(sender, publish, publish_and_wait, deadline);
}

static coney_status send_on(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    coney_status status = sender->options.flow == CONEY_FLOW_STORE
                              ? cny_store_send(sender, publish)
                              : publish_by(sender, publish, cny_template_get_channel, cny_channel_publish, deadline);
    if (status == CONEY_OK)
        cny_template_watch(sender);
    return status;
}

static coney_status send_and_forget(coney_template *sender, const cny_publish *publish, int64_t deadline)
{
    cny_publish unheard = *publish;
    unheard.mandatory = false;
    return publish_by(sender, &unheard, cny_template_get_plain_channel, cny_channel_publish_unconfirmed, deadline);
}

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

bool cny_template_is_mandatory(const coney_template *sender, const coney_send_options *options)
{
    return options->return_unroutable || (!options->drop_unroutable && !sender->options.drop_unroutable);
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

int64_t cny_template_deadline(const coney_template *sender, const coney_send_options *options)
{
    return cny_deadline_about(options && options->timeout_ms > 0 ? options->timeout_ms : sender->options.timeout_ms);
}

/* How the program wants to learn the outcome of an asynchronous send. */
typedef struct outcome {
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter;
} outcome;

static coney_status send_by(coney_template *sender, const char *routing_key, coney_message *message,
                            const coney_send_options *options, cny_attempt *send, const outcome *wanted)
{
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "send: the template is NULL");
    int64_t deadline = cny_template_deadline(sender, options);
    cny_publish publish = {0};
    coney_message *prepared = NULL;
    coney_status status = cny_template_prepare(sender, routing_key, message, options, &publish, &prepared);
    if (status == CONEY_OK) {
        publish.callback = wanted->callback;
        publish.user = wanted->user;
        publish.waiter = wanted->waiter;
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
    return send_by(sender, routing_key, message, options, send_and_wait, &(outcome){0});
}

coney_status coney_template_send_and_forget(coney_template *sender, const char *routing_key, coney_message *message,
                                            const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (options && options->return_unroutable)
        return cny_fail(CONEY_E_INVALID,
                        "send and forget: return_unroutable is set, but nobody would hear of a return");
    return send_by(sender, routing_key, message, options, send_and_forget, &(outcome){0});
}

coney_status coney_template_send_async(coney_template *sender, const char *routing_key, coney_message *message,
                                       const coney_send_options *options, coney_send_callback *on_complete, void *user)
{
    CNY_DISABLE_CANCEL();
    const outcome wanted = {.callback = on_complete, .user = user};
    return send_by(sender, routing_key, message, options, send_on, &wanted);
}

coney_status coney_template_begin_send(coney_template *sender, coney_confirmation **confirmation,
                                       const char *routing_key, coney_message *message,
                                       const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!confirmation)
        return cny_fail(CONEY_E_INVALID, "send: the place for the confirmation is NULL");
    *confirmation = NULL;
    const outcome wanted = {.waiter = cny_waiter_new()};
    if (!wanted.waiter)
        return cny_fail_memory();
    coney_status status = send_by(sender, routing_key, message, options, send_on, &wanted);
    if (status == CONEY_OK)
        *confirmation = wanted.waiter;
    else
        cny_waiter_unref(wanted.waiter);
    return status;
}

coney_status coney_template_convert_and_send(coney_template *sender, const char *routing_key, const void *object,
                                             const coney_send_options *options)
{
    CNY_DISABLE_CANCEL();
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "send: the template is NULL");
    coney_message *message;
    const coney_converter *converter = sender->options.converter;
    coney_send_options rest = options ? *options : (coney_send_options){0};
    if (cny_to_message(converter, &message, object, rest.properties) != CONEY_OK)
        return cny_fail_in("convert to %s", converter->name);
    rest.properties = NULL;
    coney_status status = coney_template_send(sender, routing_key, message, &rest);
    coney_message_unref(message);
    return status;
}

/* ---- waiting and the end ---- */

/* Waits for all channels there are now. */
static coney_status wait_for_channels(coney_template *sender, int64_t deadline)
{
    cny_buffer channels = {0};
    coney_status status = cny_template_channels(sender, &channels);
    cny_channel **all = (cny_channel **)(void *)channels.data;
    for (size_t i = 0; status == CONEY_OK && i < channels.size / sizeof *all; i++)
        status = cny_channel_wait_for_confirms(all[i], deadline);
    cny_template_channels_free(&channels);
    return status;
}

/* Nothing moves from channel to channel, and nothing is left on any. */
static bool is_finished(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    bool finished = !sender->busy && !sender->store.first && sender->store.unfinished == 0 &&
                    (!sender->channel || cny_channel_finished(sender->channel));
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++)
        finished = finished && cny_channel_finished(retired[i]);
    pthread_mutex_unlock(&sender->lock);
    return finished;
}

static void wait_while_busy(coney_template *sender, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&sender->lock);
    while ((sender->busy || sender->opening_plain) && in_time)
        in_time = cny_cond_wait(&sender->idle, &sender->lock, deadline);
    pthread_mutex_unlock(&sender->lock);
}

/* What is kept or stored for a connection that does not come back by itself need not be waited for. */
static coney_status check_hope(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    bool kept = sender->store.first || (!sender->busy && cny_template_has_kept(sender));
    pthread_mutex_unlock(&sender->lock);
    coney_status status = kept ? cny_factory_check_given_up(sender->factory, CONEY_PUBLISHING) : CONEY_OK;
    return status == CONEY_OK ? status : cny_fail_in("messages are kept or stored, but the connection was given up");
}

/* Looks up now and then, because messages may move to another channel. */
static coney_status drain(void *self, int64_t deadline)
{
    coney_template *sender = self;
    for (;;) {
        coney_status status = check_hope(sender);
        if (status != CONEY_OK)
            return status;
        int64_t now = cny_now_ms(), soon = now + LOOK_UP_MS < deadline ? now + LOOK_UP_MS : deadline;
        wait_while_busy(sender, soon);
        cny_store_wait_finished(sender, soon);
        status = wait_for_channels(sender, soon);
        if (status == CONEY_OK && is_finished(sender))
            return CONEY_OK;
        if (now >= deadline)
            return status == CONEY_OK
                       ? cny_fail(CONEY_E_TIMEOUT, "messages are still stored or to be sent again at the deadline; see "
                                                   "stored and unconfirmed of coney_template_statistics()")
                       : status;
        if (status != CONEY_OK && status != CONEY_E_TIMEOUT)
            return status;
    }
}

coney_status coney_template_wait_for_confirms(coney_template *sender, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "wait for confirms: the template is NULL");
    if (timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "wait for confirms: timeout_ms is %d, which is below 0", timeout_ms);
    coney_status status = cny_factory_check_process(sender->factory);
    if (status != CONEY_OK)
        return status;
    if (cny_factory_on_events_thread(sender->factory))
        return cny_fail(CONEY_E_STATE, "wait for confirms: a send callback cannot wait for send callbacks");
    return drain(sender, cny_deadline(timeout_ms));
}

/* From here on nobody gets a channel, so that the channels stay as they are. Who is busy is waited
 * for; false if that did not end in time. */
static bool refuse_senders(coney_template *sender, int64_t deadline)
{
    pthread_mutex_lock(&sender->lock);
    sender->closed = true;
    cny_store_close(sender, "the template was freed");
    pthread_cond_broadcast(&sender->idle);
    pthread_mutex_unlock(&sender->lock);
    cny_store_tell(sender);
    wait_while_busy(sender, deadline);
    pthread_mutex_lock(&sender->lock);
    bool refused = !sender->busy && !sender->opening_plain;
    pthread_mutex_unlock(&sender->lock);
    return cny_store_wait_finished(sender, deadline) && refused;
}

static void abandon_kept(const coney_template *sender)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++)
        cny_channel_abandon_kept(retired[i]);
    if (sender->channel)
        cny_channel_abandon_kept(sender->channel);
}

/* The factory is closed, so the recovery thread is not busy here any more, unless it hangs. */
static void abandon(void *self)
{
    coney_template *sender = self;
    pthread_mutex_lock(&sender->lock);
    if (!sender->busy)
        abandon_kept(sender);
    cny_store_close(sender, "the connection factory was closed");
    pthread_cond_broadcast(&sender->idle); /* for senders behind what was kept */
    pthread_mutex_unlock(&sender->lock);
    cny_store_tell(sender);
}

/* Completes what is outstanding with CONEY_E_CLOSED and waits until the callbacks have returned. */
static bool close_channels(coney_template *sender, int64_t deadline)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    bool finished = true;
    cny_channel_close(sender->channel);
    cny_channel_close(sender->plain);
    abandon_kept(sender);
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++)
        finished = finished && cny_channel_wait_for_confirms(retired[i], deadline) == CONEY_OK;
    return finished && (!sender->channel || cny_channel_wait_for_confirms(sender->channel, deadline) == CONEY_OK);
}

void coney_template_free(coney_template *sender)
{
    CNY_DISABLE_CANCEL();
    if (!sender || cny_factory_check_process(sender->factory) != CONEY_OK)
        return;
    if (cny_factory_on_events_thread(sender->factory)) {
        cny_log(CONEY_LOG_ERROR, "coney_template_free called by a send callback: the template is not freed");
        return;
    }
    int64_t deadline = cny_deadline(sender->options.timeout_ms);
    cny_factory_leave(sender->factory, sender);
    if (!refuse_senders(sender, deadline) || !close_channels(sender, deadline)) {
        /* What a callback may still be using must not go away under it. */
        cny_log(CONEY_LOG_ERROR, "a send callback did not return within %d ms: its template is not freed",
                sender->options.timeout_ms);
        return;
    }
    cny_template_unref(sender);
}
