/* SPDX-License-Identifier: MIT */
/* Sends the message of a call: with the place for its reply, its id and its deadline, on the channel that the reply
 * comes by. On the caller's thread; what becomes of the message is told on the I/O thread. */
#include "rabbit/rpc/parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the message ---- */

/* The program may have set a shorter one. */
static int64_t expiration_of(const coney_message *message, int64_t left_ms)
{
    const char *own = message->properties.expiration;
    char *end = NULL;
    long long own_ms = own ? strtoll(own, &end, 10) : -1;
    bool is_shorter = own && end != own && *end == '\0' && own_ms >= 0 && own_ms < left_ms;
    return is_shorter ? own_ms : left_ms;
}

/* Gives the headers in the arena. */
static coney_status make_headers(const cny_rpc *rpc, const coney_table **headers, cny_arena *arena, const char *id,
                                 int64_t left_ms)
{
    const char *header = rpc->options.correlation_header;
    bool has_other_deadline = coney_table_get(*headers, CONEY_HEADER_TIMEOUT); /* of a request that is passed on */
    if (!header && rpc->options.hide_deadline && !has_other_deadline)
        return CONEY_OK;
    coney_table *made = cny_table_copy_without(arena, *headers, CONEY_HEADER_TIMEOUT);
    coney_status status = made ? CONEY_OK : cny_fail_memory();
    const coney_value id_value = coney_value_string(id), timeout = coney_value_int64(left_ms);
    if (status == CONEY_OK && header)
        status = coney_table_set(made, header, &id_value);
    if (status == CONEY_OK && !rpc->options.hide_deadline)
        status = coney_table_set(made, CONEY_HEADER_TIMEOUT, &timeout);
    *headers = made;
    return status;
}

coney_status cny_request_make(const cny_rpc *rpc, coney_message **made, coney_message *message, const char *reply_to,
                              const char *id, int64_t deadline)
{
    char room[512], expiration[24];
    cny_arena arena;
    coney_properties properties = message->properties;
    int64_t left_ms = deadline - cny_now_ms();
    if (left_ms <= 0)
        return cny_fail(CONEY_E_TIMEOUT, "never sent: the deadline has passed");
    cny_arena_init(&arena, room, sizeof room);
    coney_status status = make_headers(rpc, &properties.headers, &arena, id, left_ms);
    properties.reply_to = reply_to;
    if (!rpc->options.correlation_header)
        properties.correlation_id = id;
    if (!rpc->options.hide_deadline) {
        snprintf(expiration, sizeof expiration, "%lld", (long long)expiration_of(message, left_ms));
        properties.expiration = expiration;
    }
    if (status == CONEY_OK)
        status = cny_message_with(made, message, &properties);
    cny_arena_free(&arena);
    return status;
}

/* ---- what becomes of it: under the locks of the connection and of the events ---- */

static void on_outcome(void *user, cny_error *error, cny_waiter **told)
{
    cny_call *call = user;
    if (error) {
        cny_call_end_under_events(call, (cny_end){.error = error}, told);
    } else {
        cny_rpc_lock(call->rpc);
        call->confirmed = true;
        cny_rpc_unlock(call->rpc);
    }
    cny_call_unref(call);
}

/* ---- sending ---- */

/* Under lock: the call is outstanding from now on. */
static coney_status enter_locked(cny_call *call, cny_reply_channel *channel)
{
    cny_rpc *rpc = call->rpc;
    if (rpc->is_closed)
        return cny_fail(CONEY_E_CLOSED, "the template is being freed");
    if (rpc->calls.count >= (size_t)rpc->options.max_outstanding) {
        rpc->statistics.limited++;
        return cny_fail(CONEY_E_LIMIT, "%zu requests are outstanding (rpc.max_outstanding %d)", rpc->calls.count,
                        rpc->options.max_outstanding);
    }
    if (!cny_calls_reserve(&rpc->calls))
        return cny_fail_memory();
    call->channel = channel;
    call->sent_us = cny_now_us();
    call->state = CNY_CALL_OUTSTANDING;
    if (!cny_calls_add(&rpc->calls, call))
        return cny_fail(CONEY_E_INVALID,
                        "a request with the correlation id '%.255s' is outstanding (rpc.keep_correlation_id)",
                        call->id);
    atomic_fetch_add_explicit(&call->refs, 2, memory_order_relaxed); /* the table's and the confirm's */
    rpc->statistics.sent++;
    rpc->statistics.in_flight++;
    rpc->untold += call->callback != NULL;
    return CONEY_OK;
}

/* Asynchronous calls are expired by the recovery thread. */
static void plan_expiry(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    if (call->synchronous)
        return;
    cny_rpc_lock(rpc);
    bool is_sooner = call->deadline < rpc->tick_at;
    if (is_sooner)
        rpc->tick_at = call->deadline;
    cny_rpc_unlock(rpc);
    if (is_sooner)
        cny_factory_wake(rpc->parts.factory);
}

/* Withdraws the call if it was not accepted. */
static coney_status publish(cny_call *call, const cny_publish *request, cny_channel *publisher)
{
    cny_publish publish = *request;
    publish.on_outcome = on_outcome;
    publish.user = call;
    publish.synchronous = call->synchronous;
    publish.mandatory = true;
    coney_status status = cny_channel_publish(publisher, &publish, call->deadline);
    if (status == CONEY_OK && call->synchronous) {
        call->awaited = cny_channel_ref(publisher);
        cny_channel_await(publisher, 1);
    }
    if (status == CONEY_OK)
        return CONEY_OK;
    cny_error *error = cny_error_capture();
    bool has_ended = !cny_call_withdraw(call);
    cny_call_unref(call); /* the confirm's */
    cny_error_raise(error);
    cny_error_unref(error);
    return has_ended ? CONEY_OK : status; /* closed or cancelled meanwhile */
}

static coney_status send_on(cny_call *call, const cny_call_request *request, cny_reply_channel *channel,
                            cny_channel *publisher)
{
    cny_rpc *rpc = call->rpc;
    cny_publish with_place = request->publish;
    coney_message *made = NULL;
    coney_status status =
        cny_request_make(rpc, &made, request->publish.message, channel->address, call->id, request->deadline);
    if (status == CONEY_OK)
        status = cny_declarations_wait(rpc->parts.factory, with_place.exchange, with_place.routing_key,
                                       rpc->parts.flow == CONEY_FLOW_FAIL ? 0 : request->deadline);
    with_place.message = made;
    cny_rpc_lock(rpc);
    if (status == CONEY_OK)
        status = enter_locked(call, channel);
    if (status != CONEY_OK)
        cny_reply_channel_release(channel);
    cny_rpc_unlock(rpc);
    if (status == CONEY_OK)
        status = publish(call, &with_place, publisher);
    coney_message_unref(made);
    return status;
}

/* If the channel is gone before anything was written, this begins anew with another one. */
static coney_status send_call(cny_call *call, const cny_call_request *request)
{
    coney_status status;
    do {
        cny_reply_channel *channel;
        cny_channel *publisher;
        status = cny_reply_channel_take(call->rpc, &channel, &publisher, request->deadline);
        if (status != CONEY_OK)
            return status;
        status = send_on(call, request, channel, publisher);
        cny_channel_unref(publisher);
    } while (status == CONEY_E_STALE && cny_now_ms() < request->deadline);
    return status == CONEY_E_STALE ? cny_fail(CONEY_E_CONNECT, "never sent by the deadline: %s", coney_last_error())
                                   : status;
}

/* ---- the call ---- */

/* The id of the call: the program's own, if it is to be kept. */
static const char *choose_id(cny_rpc *rpc, const coney_message *original, char made[64])
{
    const char *header = rpc->options.correlation_header;
    const coney_value *value = header ? coney_message_header(original, header) : NULL;
    const char *own = header ? (value && value->type == CONEY_STRING ? value->as.bytes.data : NULL)
                             : original->properties.correlation_id;
    if (rpc->options.keep_correlation_id && own && *own)
        return own;
    snprintf(made, 64, "%s-%llx", rpc->name, atomic_fetch_add(&rpc->last_number, 1) + 1);
    return made;
}

coney_status cny_rpc_send(cny_rpc *rpc, const cny_call_request *request, cny_call **call)
{
    char id[64];
    coney_status status = cny_factory_check_draining(rpc->parts.factory);
    if (status != CONEY_OK)
        return status;
    cny_call *made = cny_call_new(rpc, request, choose_id(rpc, request->original, id));
    if (!made)
        return cny_fail_memory();
    status = cny_circuit_admit(made);
    if (status == CONEY_OK) {
        status = send_call(made, request);
        if (status != CONEY_OK)
            cny_circuit_forget(made);
    }
    if (status == CONEY_OK)
        plan_expiry(made);
    if (status == CONEY_OK && call)
        *call = made;
    else
        cny_call_unref(made);
    return status;
}
