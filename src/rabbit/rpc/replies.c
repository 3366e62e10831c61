/* SPDX-License-Identifier: MIT */
/* Finds the call of each reply that comes, on the I/O thread and under the lock of its connection. A reply that no call
 * awaits is counted, rejected if it came by a queue, and told on the events thread. */
#include "rabbit/rpc/parts.h"

#include <string.h>

enum { LOG_PAUSE_MS = 10000 };

/* ---- replies that no call awaits ---- */

typedef struct late_reply {
    cny_rpc *rpc;
    coney_message *reply;
    bool is_ours; /* its id is one that this template has given */
} late_reply;

static const char *id_of(const cny_rpc *rpc, const coney_message *reply)
{
    if (!rpc->options.correlation_header)
        return reply->properties.correlation_id;
    const coney_value *value = coney_message_header(reply, rpc->options.correlation_header);
    return value && value->type == CONEY_STRING ? value->as.bytes.data : NULL;
}

static bool is_ours(const cny_rpc *rpc, const char *id)
{
    return id && (rpc->options.keep_correlation_id || strncmp(id, rpc->name, strlen(rpc->name)) == 0);
}

static cny_error *error_of(const late_reply *late)
{
    const char *id = id_of(late->rpc, late->reply);
    if (late->is_ours)
        return cny_error_new(CONEY_E_TIMEOUT, 0,
                             "a reply with the correlation id '%.255s' came after the end of its request, or again",
                             id);
    if (id)
        return cny_error_new(CONEY_E_INVALID, 0,
                             "a reply came with the correlation id '%.255s', which no request of this template has",
                             id);
    return cny_error_new(CONEY_E_INVALID, 0, "a reply came without a correlation id%s%s",
                         late->rpc->options.correlation_header ? " in the header " : "",
                         late->rpc->options.correlation_header ? late->rpc->options.correlation_header : "");
}

static void log_now_and_then(cny_rpc *rpc, const cny_error *error)
{
    int64_t now = cny_now_ms();
    if (now < rpc->late_log_at)
        return;
    rpc->late_log_at = now + LOG_PAUSE_MS;
    cny_log(CONEY_LOG_WARN, "%s; further replies like it are counted only, for %d s", cny_error_view(error)->text,
            LOG_PAUSE_MS / 1000);
}

static void run_late(coney_message *unused, const coney_error *no_error, void *user)
{
    (void)unused;
    (void)no_error;
    late_reply *late = user;
    cny_rpc *rpc = late->rpc;
    cny_error *error = error_of(late);
    if (rpc->options.on_late_reply)
        rpc->options.on_late_reply(late->reply, cny_error_view(error), rpc->options.user);
    else
        log_now_and_then(rpc, error);
    cny_error_unref(error);
    coney_message_unref(late->reply);
    cny_free(late);
    cny_notice_ends(rpc);
    rpc->parts.owner->unref(rpc->parts.self);
}

static void count_late(cny_rpc *rpc, bool is_late)
{
    cny_rpc_lock(rpc);
    ++*(is_late ? &rpc->statistics.late_replies : &rpc->statistics.foreign_replies);
    cny_rpc_unlock(rpc);
}

static void on_late(cny_rpc *rpc, coney_message *reply)
{
    bool is_late = is_ours(rpc, id_of(rpc, reply));
    count_late(rpc, is_late);
    if (!cny_notice_begins(rpc))
        return;
    late_reply *late = cny_alloc(sizeof *late);
    if (late)
        *late = (late_reply){.rpc = rpc, .reply = reply, .is_ours = is_late};
    cny_events_lock(rpc->events);
    bool posted = late && cny_events_post(rpc->events, &(cny_completion){.callback = run_late, .user = late});
    if (posted) {
        coney_message_ref(reply);
        rpc->parts.owner->ref(rpc->parts.self);
    }
    cny_events_unlock_quietly(rpc->events);
    if (!posted) {
        cny_free(late);
        cny_notice_ends(rpc);
    }
}

/* ---- replies ---- */

/* Under lock: gives a reference. */
static cny_call *find_call(const cny_rpc *rpc, const char *id)
{
    cny_call *call = id ? cny_calls_find(&rpc->calls, id, strlen(id)) : NULL;
    return call ? cny_call_ref(call) : NULL;
}

cny_settlement cny_reply_arrives(void *channel, coney_message *message, cny_waiter **told)
{
    cny_rpc *rpc = ((cny_reply_channel *)channel)->rpc;
    cny_rpc_lock(rpc);
    cny_call *call = find_call(rpc, id_of(rpc, message));
    cny_rpc_unlock(rpc);
    bool is_awaited = false;
    if (call) {
        cny_events_lock(rpc->events);
        is_awaited = cny_call_end_under_events(call, (cny_end){.reply = message}, told);
        cny_events_unlock_quietly(rpc->events); /* the I/O thread wakes the events thread later */
        cny_call_unref(call);
    }
    if (!is_awaited)
        on_late(rpc, message);
    return is_awaited ? CNY_SETTLE_ACK : CNY_SETTLE_REJECT;
}
