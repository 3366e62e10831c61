/* SPDX-License-Identifier: MIT */
/* The life of a call: it is outstanding until its reply comes, its sending fails, its deadline passes, or somebody
 * cancels it; whichever is first ends it, once. Then whoever asked for the end is told: a thread that waits, or a
 * callback on the events thread. What the program may see of a reply is made by the thread that is told. */
#include "rabbit/rpc/parts.h"

#include <string.h>

/* ---- new and free ---- */

cny_call *cny_call_new(cny_rpc *rpc, const cny_call_request *request, const char *id)
{
    size_t exchange = strlen(request->publish.exchange) + 1, key = strlen(request->publish.routing_key) + 1;
    size_t id_size = strlen(id);
    cny_call *call = cny_alloc(sizeof *call + exchange + key + id_size + 1);
    if (!call)
        return NULL;
    call->waiter = request->callback ? NULL : cny_waiter_new();
    if (!request->callback && !call->waiter) {
        cny_free(call);
        return NULL;
    }
    char *names = (char *)(call + 1);
    call->exchange = memcpy(names, request->publish.exchange, exchange);
    call->routing_key = memcpy(names + exchange, request->publish.routing_key, key);
    call->id = memcpy(names + exchange + key, id, id_size + 1);
    call->hash = cny_hash_keyed(id, id_size);
    atomic_init(&call->refs, 1);
    call->fork_count = cny_fork_count();
    call->rpc = rpc;
    call->callback = request->callback;
    call->user = request->user;
    call->deadline = request->deadline;
    call->synchronous = request->synchronous;
    const coney_properties *own = &request->original->properties;
    if (own->correlation_id || own->reply_to)
        call->original = coney_message_ref(request->original);
    rpc->parts.owner->ref(rpc->parts.self);
    return call;
}

static void free_call(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_waiter_unref(call->waiter);
    cny_channel_unref(call->awaited);
    coney_message_unref(call->original);
    coney_message_unref(call->reply);
    cny_error_unref(call->error);
    cny_free(call);
    rpc->parts.owner->unref(rpc->parts.self);
}

void cny_call_unref(cny_call *call)
{
    if (call && atomic_fetch_sub_explicit(&call->refs, 1, memory_order_acq_rel) == 1)
        free_call(call);
}

/* ---- waiting for any of several: rare, so all threads that do it share these ---- */

static struct {
    pthread_once_t once;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    atomic_int waiting;
} any = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static void init_any(void)
{
    cny_cond_init(&any.ended);
}

static void wake_any(void)
{
    if (atomic_load(&any.waiting) == 0)
        return;
    pthread_mutex_lock(&any.lock);
    pthread_cond_broadcast(&any.ended);
    pthread_mutex_unlock(&any.lock);
}

void cny_calls_wait_for_any(bool (*has_ended)(void *context), void *context, int64_t deadline)
{
    bool in_time = true;
    pthread_once(&any.once, init_any);
    atomic_fetch_add(&any.waiting, 1);
    pthread_mutex_lock(&any.lock);
    while (!has_ended(context) && in_time)
        in_time = cny_cond_wait(&any.ended, &any.lock, deadline);
    pthread_mutex_unlock(&any.lock);
    atomic_fetch_sub(&any.waiting, 1);
}

/* ---- the reply as the program sees it ---- */

/* The program's message had ids of its own, perhaps those of a request that it serves itself. */
static coney_status restore(const cny_call *call, coney_message **reply)
{
    coney_message *made;
    coney_properties properties = (*reply)->properties;
    const coney_properties *own = &call->original->properties;
    if (own->correlation_id)
        properties.correlation_id = own->correlation_id;
    if (own->reply_to)
        properties.reply_to = own->reply_to;
    coney_status status = cny_message_with(&made, *reply, &properties);
    if (status != CONEY_OK)
        return status;
    coney_message_unref(*reply);
    *reply = made;
    return CONEY_OK;
}

static coney_status fail_remote(const coney_message *reply)
{
    coney_remote_error *told;
    coney_status status = coney_message_error(&told, reply);
    if (status != CONEY_OK)
        return status;
    status = cny_fail_remote(told->code, told->message, told->retriable);
    coney_remote_error_free(told);
    return status;
}

static coney_status receive(const cny_call *call, coney_message **reply)
{
    const cny_rpc *rpc = call->rpc;
    coney_status status = call->original ? restore(call, reply) : CONEY_OK;
    if (status == CONEY_OK)
        status = rpc->parts.owner->receive(rpc->parts.self, reply);
    if (status != CONEY_OK)
        return cny_fail_in("the reply");
    if (!*reply)
        return cny_fail(CONEY_E_INVALID, "a processor discarded the reply; a reply cannot be discarded");
    return coney_message_is_error(*reply) ? fail_remote(*reply) : CONEY_OK;
}

/* An error reply is kept: it may tell more than its code and text. */
static void look_at_reply(cny_call *call)
{
    coney_status status = receive(call, &call->reply);
    if (status == CONEY_OK)
        return;
    call->error = cny_error_capture();
    if (status != CONEY_E_REMOTE_ERROR) {
        coney_message_unref(call->reply);
        call->reply = NULL;
    }
}

/* A callback or a handle may be far from the place where the request was made. */
static void name_in_error(cny_call *call)
{
    cny_error_raise(call->error);
    cny_fail_in("request to exchange '%.255s' with routing key '%.255s'", call->exchange, call->routing_key);
    cny_error_unref(call->error);
    call->error = cny_error_capture();
}

static uint64_t *count_of(coney_rpc_statistics *statistics, const cny_error *error)
{
    switch (error ? cny_error_view(error)->status : CONEY_OK) {
    case CONEY_OK: return &statistics->replied;
    case CONEY_E_REMOTE_ERROR: return &statistics->remote_errors;
    case CONEY_E_TIMEOUT: return &statistics->timed_out;
    case CONEY_E_RETURNED: return &statistics->returned;
    case CONEY_E_NACKED: return &statistics->nacked;
    case CONEY_E_LOST: return &statistics->lost;
    case CONEY_E_CANCELLED: return &statistics->cancelled;
    case CONEY_E_CLOSED: return &statistics->closed;
    default: return &statistics->failed;
    }
}

void cny_call_finish(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_rpc_lock(rpc);
    while (call->state == CNY_CALL_FINISHING) /* a thread of the program, which may take its time */
        pthread_cond_wait(&rpc->changed, &rpc->lock);
    bool is_ours = call->state == CNY_CALL_ENDED;
    if (is_ours)
        call->state = CNY_CALL_FINISHING;
    cny_rpc_unlock(rpc);
    if (!is_ours)
        return;
    bool had_reply = call->reply;
    if (had_reply)
        look_at_reply(call);
    if (call->error)
        name_in_error(call);
    cny_circuit_note(call);
    cny_rpc_lock(rpc);
    if (call->error && had_reply) { /* it was counted as a reply when it came */
        rpc->statistics.replied--;
        ++*count_of(&rpc->statistics, call->error);
    }
    call->state = CNY_CALL_FINISHED;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
}

/* ---- telling ---- */

/* A program may leave a handle alone for long, but its circuit must hear how the call has ended. */
static bool is_left_to_events(const cny_call *call)
{
    return !call->callback && !call->synchronous && call->rpc->options.circuit.max_failures > 0;
}

static void was_told(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_rpc_lock(rpc);
    rpc->untold--;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
    cny_call_unref(call);
}

static void run_end(coney_message *unused, const coney_error *no_error, void *user)
{
    (void)unused;
    (void)no_error;
    cny_call *call = user;
    cny_call_finish(call);
    if (call->callback)
        call->callback(call->reply, cny_error_view(call->error), call->user);
    was_told(call);
}

/* Takes a reference. Without memory or events thread the callback cannot run. */
static void post(cny_call *call)
{
    if (!cny_events_post(call->rpc->events, &(cny_completion){.callback = run_end, .user = call}))
        was_told(call);
}

/* ---- the end ---- */

static void take_out(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_calls_remove(&rpc->calls, call);
    cny_reply_channel_release(call->channel);
    call->channel = NULL;
    if (rpc->calls.count == 0)
        pthread_cond_broadcast(&rpc->changed);
}

/* False: it has ended before. */
static bool end_locked(cny_call *call, cny_end end)
{
    cny_rpc *rpc = call->rpc;
    if (call->state != CNY_CALL_OUTSTANDING)
        return false;
    call->state = CNY_CALL_ENDED;
    call->reply = coney_message_ref(end.reply);
    call->error = cny_error_ref(end.error);
    take_out(call);
    rpc->untold += is_left_to_events(call);
    rpc->statistics.in_flight--;
    ++*count_of(&rpc->statistics, end.error);
    if (end.reply)
        cny_count_latency(rpc->statistics.latency, cny_now_us() - call->sent_us);
    return true;
}

bool cny_call_end_under_events(cny_call *call, cny_end end, cny_waiter **told)
{
    cny_rpc_lock(call->rpc);
    bool is_ours = end_locked(call, end);
    cny_rpc_unlock(call->rpc);
    if (!is_ours)
        return false;
    if (call->callback) {
        post(call); /* with the reference of the table */
        return true;
    }
    if (is_left_to_events(call))
        post(cny_call_ref(call));
    if (told)
        cny_waiter_tell_later(call->waiter, NULL, told);
    else
        cny_waiter_tell(call->waiter, NULL);
    wake_any();
    cny_call_unref(call);
    return true;
}

bool cny_call_end(cny_call *call, cny_end end)
{
    cny_events *events = call->rpc->events;
    cny_events_lock(events);
    bool is_ours = cny_call_end_under_events(call, end, NULL);
    cny_events_unlock(events);
    return is_ours;
}

bool cny_call_withdraw(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_rpc_lock(rpc);
    bool is_ours = call->state == CNY_CALL_OUTSTANDING;
    if (is_ours) {
        call->state = CNY_CALL_FINISHED;
        take_out(call);
        rpc->statistics.in_flight--;
        rpc->statistics.sent--;
        rpc->untold -= call->callback != NULL;
    }
    cny_rpc_unlock(rpc);
    if (is_ours)
        cny_call_unref(call); /* the table's */
    return is_ours;
}
