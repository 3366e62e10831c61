/* SPDX-License-Identifier: MIT */
/* Waiting for the end of calls, and the handles by which a program does it. On the threads that wait. */
#include "rabbit/rpc/parts.h"

#include <limits.h>

/* ---- one call ---- */

static cny_error *error_of_timeout(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    cny_rpc_lock(rpc);
    bool confirmed = call->confirmed;
    int64_t waited_ms = (cny_now_us() - call->sent_us) / 1000;
    cny_rpc_unlock(rpc);
    return cny_error_new(CONEY_E_TIMEOUT, 0, "no reply within %lld ms; %s", (long long)waited_ms,
                         confirmed ? "the broker has confirmed the request"
                                   : "the broker has not confirmed the request");
}

static void end_at_deadline(cny_call *call)
{
    cny_error *error = error_of_timeout(call);
    cny_call_end(call, (cny_end){.error = error});
    cny_error_unref(error);
}

static coney_status result_of(cny_call *call, coney_message **reply)
{
    cny_call_finish(call);
    if (reply)
        *reply = coney_message_ref(call->reply);
    return cny_error_raise(call->error);
}

coney_status cny_call_wait(cny_call *call, coney_message **reply)
{
    if (!cny_waiter_wait(call->waiter, call->deadline))
        end_at_deadline(call);
    cny_waiter_wait(call->waiter, cny_deadline(INT_MAX)); /* whoever has ended it tells at once */
    if (call->awaited)
        cny_channel_await(call->awaited, -1);
    return result_of(call, reply);
}

/* ---- deadlines of asynchronous calls: recovery thread ---- */

/* Gives a reference to a call whose deadline has passed, from this bucket on; NULL: there is none. *next becomes the
 * earliest of the other deadlines. */
static cny_call *next_late(cny_rpc *rpc, size_t *bucket, int64_t now, int64_t *next)
{
    cny_call *late = NULL;
    cny_rpc_lock(rpc);
    while (!late && cny_calls_any(&rpc->calls, bucket)) {
        for (cny_call *call = rpc->calls.buckets[*bucket]; call && !late; call = call->next_of_hash) {
            if (call->deadline <= now && !call->synchronous)
                late = cny_call_ref(call);
            else if (!call->synchronous)
                *next = cny_sooner(*next, call->deadline);
        }
        *bucket += !late;
    }
    cny_rpc_unlock(rpc);
    return late;
}

/* Looks at all calls, which happens as rarely as a call that was outstanding the last time is due. */
int64_t cny_calls_expire(cny_rpc *rpc, int64_t now)
{
    int64_t next = INT64_MAX;
    size_t bucket = 0;
    for (cny_call *late; (late = next_late(rpc, &bucket, now, &next));) {
        end_at_deadline(late);
        cny_call_unref(late);
    }
    return next;
}

/* ---- the program's handles ---- */

static bool is_of_process(const coney_request *request)
{
    return request->fork_count == cny_fork_count();
}

static coney_status check_process(const coney_request *request)
{
    return is_of_process(request) ? CONEY_OK
                                  : cny_fail(CONEY_E_STATE, "request: it belongs to the parent of this process");
}

static bool has_ended(coney_request *request)
{
    cny_rpc_lock(request->rpc);
    bool ended = request->state != CNY_CALL_OUTSTANDING;
    cny_rpc_unlock(request->rpc);
    return ended;
}

static coney_status check_timeout(int timeout_ms)
{
    return timeout_ms >= 0 ? CONEY_OK
                           : cny_fail(CONEY_E_INVALID, "request: timeout_ms is %d, which is below 0", timeout_ms);
}

static coney_status wait_until(coney_request *request, int64_t deadline)
{
    if (!cny_waiter_wait(request->waiter, deadline))
        return cny_fail(CONEY_E_TIMEOUT, "request: it has not ended yet");
    return result_of(request, NULL);
}

coney_status coney_request_wait(coney_request *request, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!request)
        return cny_fail(CONEY_E_INVALID, "request: the handle is NULL");
    coney_status status = check_timeout(timeout_ms);
    if (status == CONEY_OK)
        status = check_process(request);
    return status == CONEY_OK ? wait_until(request, cny_deadline(timeout_ms)) : status;
}

typedef struct any_wait {
    coney_request *const *requests;
    size_t count;
    size_t *index;
} any_wait;

static bool has_any_ended(void *context)
{
    const any_wait *wait = context;
    size_t i = 0;
    while (i < wait->count && !(wait->requests[i] && has_ended(wait->requests[i])))
        i++;
    if (i == wait->count)
        return false;
    *wait->index = i;
    return true;
}

static coney_status check_any(coney_request *const requests[], size_t count, const size_t *index, int timeout_ms)
{
    size_t there = 0;
    if (!index || (!requests && count > 0))
        return cny_fail(CONEY_E_INVALID, "request: the array or the place for the index is NULL");
    coney_status status = check_timeout(timeout_ms);
    for (size_t i = 0; i < count && status == CONEY_OK; i++) {
        there += requests[i] != NULL;
        status = requests[i] ? check_process(requests[i]) : CONEY_OK;
    }
    if (status == CONEY_OK && there == 0)
        return cny_fail(CONEY_E_INVALID, "request: the array has no request to wait for");
    return status;
}

coney_status coney_request_wait_any(coney_request *const requests[], size_t count, size_t *index, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    coney_status status = check_any(requests, count, index, timeout_ms);
    if (status != CONEY_OK)
        return status;
    size_t found = count;
    any_wait wait = {.requests = requests, .count = count, .index = &found};
    cny_calls_wait_for_any(has_any_ended, &wait, cny_deadline(timeout_ms));
    if (found == count)
        return cny_fail(CONEY_E_TIMEOUT, "request: none has ended yet");
    *index = found;
    return CONEY_OK;
}

coney_status coney_request_wait_all(coney_request *const requests[], size_t count, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!requests && count > 0)
        return cny_fail(CONEY_E_INVALID, "request: the array is NULL");
    coney_status status = check_timeout(timeout_ms);
    for (size_t i = 0; i < count && status == CONEY_OK; i++) {
        if (!requests[i])
            return cny_fail(CONEY_E_INVALID, "request: element %zu of the array is NULL", i);
        status = check_process(requests[i]);
    }
    int64_t deadline = status == CONEY_OK ? cny_deadline(timeout_ms) : 0;
    for (size_t i = 0; i < count && status == CONEY_OK; i++) {
        status = wait_until(requests[i], deadline);
        if (status != CONEY_OK)
            cny_fail_in("request %zu of %zu", i, count);
    }
    return status;
}

bool coney_request_is_done(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    return request && is_of_process(request) && has_ended(request);
}

bool coney_request_is_confirmed(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    if (!request || !is_of_process(request))
        return false;
    cny_rpc_lock(request->rpc);
    bool confirmed = request->confirmed;
    cny_rpc_unlock(request->rpc);
    return confirmed;
}

coney_message *coney_request_reply(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    if (!coney_request_is_done(request))
        return NULL;
    cny_call_finish(request);
    return request->reply;
}

const coney_error *coney_request_error(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    if (!coney_request_is_done(request))
        return NULL;
    cny_call_finish(request);
    return cny_error_view(request->error);
}

void coney_request_cancel(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    if (!request || !is_of_process(request))
        return;
    cny_error *error = cny_error_new(CONEY_E_CANCELLED, 0, "it was cancelled");
    cny_call_end(request, (cny_end){.error = error});
    cny_error_unref(error);
}

void coney_request_free(coney_request *request)
{
    CNY_DISABLE_CANCEL();
    if (!request || !is_of_process(request))
        return;
    coney_request_cancel(request);
    cny_call_finish(request); /* so that a reply that nobody looked at counts for its circuit */
    cny_call_unref(request);
}
