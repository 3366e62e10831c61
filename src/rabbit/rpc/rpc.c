/* SPDX-License-Identifier: MIT */
/* The requests of one template: their options, their part in the life of the template, and their counts. Any thread. */
#include "rabbit/rpc/parts.h"

#include <string.h>

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_MAX_PER_CHANNEL 1000
#define DEFAULT_IDLE_MS 60000
#define DEFAULT_MAX_OUTSTANDING 10000
#define DEFAULT_OPEN_MS 10000

/* ---- options ---- */

static coney_status check_not_below_0(const char *name, int value)
{
    return value >= 0 ? CONEY_OK : cny_fail(CONEY_E_INVALID, "rpc.%s is %d, which is below 0", name, value);
}

static coney_status check_path(const coney_rpc_options *options)
{
    bool has_queue = options->reply_queue && *options->reply_queue;
    coney_reply_path path = options->reply_path;
    if (path < CONEY_REPLY_AUTO || path > CONEY_REPLY_FIXED_QUEUE)
        return cny_fail(CONEY_E_INVALID, "rpc.reply_path is %d, which is no coney_reply_path", (int)path);
    if (path == CONEY_REPLY_FIXED_QUEUE && !has_queue)
        return cny_fail(CONEY_E_INVALID, "rpc.reply_path is CONEY_REPLY_FIXED_QUEUE, but there is no rpc.reply_queue");
    if (has_queue && (path == CONEY_REPLY_DIRECT || path == CONEY_REPLY_TEMPORARY_QUEUE))
        return cny_fail(CONEY_E_INVALID,
                        "rpc.reply_queue is '%.255s', but rpc.reply_path is not CONEY_REPLY_FIXED_QUEUE; set one",
                        options->reply_queue);
    if (options->reply_address && !has_queue)
        return cny_fail(CONEY_E_INVALID,
                        "rpc.reply_address is '%.255s', but there is no rpc.reply_queue that replies would come to",
                        options->reply_address);
    return CONEY_OK;
}

static coney_status check_numbers(const coney_rpc_options *options)
{
    const struct {
        const char *name;
        int value;
    } numbers[] = {
        {"timeout_ms", options->timeout_ms},           {"max_per_channel", options->max_per_channel},
        {"max_outstanding", options->max_outstanding}, {"circuit.max_failures", options->circuit.max_failures},
        {"circuit.open_ms", options->circuit.open_ms}, {"circuit.probes", options->circuit.probes}};
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == CONEY_OK; i++)
        status = check_not_below_0(numbers[i].name, numbers[i].value);
    return status;
}

static coney_status check_circuit(const coney_circuit_options *circuit)
{
    bool is_given = circuit->open_ms > 0 || circuit->probes > 0 || circuit->is_failure || circuit->on_change;
    return is_given && circuit->max_failures == 0
               ? cny_fail(CONEY_E_INVALID, "there are options in rpc.circuit, but rpc.circuit.max_failures is 0, so "
                                           "there is no circuit")
               : CONEY_OK;
}

coney_status cny_rpc_check_options(const coney_rpc_options *options)
{
    coney_status status = check_path(options);
    if (status == CONEY_OK)
        status = check_numbers(options);
    if (status == CONEY_OK)
        status = check_circuit(&options->circuit);
    if (status == CONEY_OK)
        status = cny_check_name("rpc.reply_queue", options->reply_queue);
    if (status == CONEY_OK)
        status = cny_check_name("rpc.reply_address", options->reply_address);
    return status == CONEY_OK ? cny_check_name("rpc.correlation_header", options->correlation_header) : status;
}

static void set_default(int *option, int value)
{
    if (*option == 0)
        *option = value;
}

static bool copy_options(cny_rpc *rpc, const coney_rpc_options *given)
{
    coney_rpc_options *own = &rpc->options;
    *own = *given;
    set_default(&own->timeout_ms, DEFAULT_TIMEOUT_MS);
    set_default(&own->max_per_channel, DEFAULT_MAX_PER_CHANNEL);
    set_default(&own->idle_ms, DEFAULT_IDLE_MS);
    set_default(&own->max_outstanding, DEFAULT_MAX_OUTSTANDING);
    set_default(&own->circuit.open_ms, DEFAULT_OPEN_MS);
    set_default(&own->circuit.probes, 1);
    if (given->reply_queue && *given->reply_queue)
        own->reply_path = CONEY_REPLY_FIXED_QUEUE;
    const char *address = given->reply_address ? given->reply_address : given->reply_queue;
    const char *header = given->correlation_header && *given->correlation_header ? given->correlation_header : NULL;
    return cny_arena_strdup(&rpc->arena, &own->reply_queue, given->reply_queue) &&
           cny_arena_strdup(&rpc->arena, &own->reply_address, address) &&
           cny_arena_strdup(&rpc->arena, &own->correlation_header, header);
}

/* ---- life ---- */

coney_status cny_rpc_new(cny_rpc **rpc, const cny_rpc_parts *parts, const coney_rpc_options *options)
{
    cny_rpc *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    made->parts = *parts;
    made->events = cny_factory_events(parts->factory);
    made->tick_at = INT64_MAX;
    made->circuits.options = &made->options.circuit;
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    coney_status status = CONEY_OK;
    if (!copy_options(made, options))
        status = cny_fail_memory();
    else if (!cny_uuid(made->name))
        status = cny_fail(CONEY_E_SYSTEM, "the system gave no random numbers for the ids of requests");
    if (status == CONEY_OK)
        *rpc = made;
    else
        cny_rpc_free(made);
    return status;
}

void cny_rpc_free(cny_rpc *rpc)
{
    if (!rpc)
        return;
    pthread_cond_destroy(&rpc->changed);
    pthread_mutex_destroy(&rpc->lock);
    cny_circuits_free(&rpc->circuits);
    cny_free(rpc->calls.buckets);
    cny_arena_free(&rpc->arena);
    cny_free(rpc);
}

int64_t cny_rpc_tick(cny_rpc *rpc, int64_t now)
{
    cny_rpc_lock(rpc);
    rpc->tick_at = INT64_MAX; /* whoever needs an earlier one from now on wakes this thread */
    cny_rpc_unlock(rpc);
    int64_t next = cny_sooner(cny_calls_expire(rpc, now), cny_reply_channels_tick(rpc, now));
    cny_rpc_lock(rpc);
    next = rpc->tick_at = cny_sooner(rpc->tick_at, next);
    cny_rpc_unlock(rpc);
    return next;
}

/* ---- the end ---- */

/* Under lock. */
static bool wait_until_quiet(cny_rpc *rpc, int64_t deadline)
{
    bool in_time = true;
    while ((rpc->calls.count > 0 || rpc->untold > 0) && in_time)
        in_time = cny_cond_wait(&rpc->changed, &rpc->lock, deadline);
    return rpc->calls.count == 0 && rpc->untold == 0;
}

coney_status cny_rpc_drain(cny_rpc *rpc, int64_t deadline)
{
    cny_rpc_lock(rpc);
    bool is_quiet = wait_until_quiet(rpc, deadline);
    size_t calls = rpc->calls.count, untold = rpc->untold;
    cny_rpc_unlock(rpc);
    return is_quiet ? CONEY_OK
                    : cny_fail(CONEY_E_TIMEOUT,
                               "%zu requests have no reply at the deadline, and %zu callbacks have "
                               "not returned",
                               calls, untold);
}

static cny_call *any_call(cny_rpc *rpc)
{
    size_t bucket = 0;
    cny_rpc_lock(rpc);
    cny_call *call = cny_calls_any(&rpc->calls, &bucket);
    call = call ? cny_call_ref(call) : NULL;
    cny_rpc_unlock(rpc);
    return call;
}

void cny_rpc_abandon(cny_rpc *rpc, const char *reason)
{
    cny_call *call;
    cny_rpc_lock(rpc);
    rpc->is_closed = true;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
    cny_error *error = cny_error_new(CONEY_E_CLOSED, 0, "%s before the reply came", reason);
    while ((call = any_call(rpc))) {
        cny_call_end(call, (cny_end){.error = error});
        cny_call_unref(call);
    }
    cny_error_unref(error);
}

/* Under lock: no thread uses a channel. */
static bool is_idle(const cny_rpc *rpc)
{
    const cny_reply_channel *each = rpc->channels;
    while (each && each->outstanding == 0)
        each = each->next;
    return !each && !rpc->opening;
}

bool cny_rpc_close(cny_rpc *rpc, int64_t deadline)
{
    bool in_time = true;
    cny_rpc_abandon(rpc, "the template was freed");
    cny_rpc_lock(rpc);
    while (!is_idle(rpc) && in_time)
        in_time = cny_cond_wait(&rpc->changed, &rpc->lock, deadline);
    bool is_quiet = is_idle(rpc);
    cny_rpc_unlock(rpc);
    if (!is_quiet)
        return false;
    cny_reply_channels_close(rpc);
    cny_rpc_lock(rpc);
    while ((rpc->untold > 0 || rpc->notices > 0) && in_time)
        in_time = cny_cond_wait(&rpc->changed, &rpc->lock, deadline);
    is_quiet = rpc->untold == 0 && rpc->notices == 0;
    cny_rpc_unlock(rpc);
    return is_quiet;
}

/* ---- what is going on ---- */

int cny_rpc_timeout_ms(const cny_rpc *rpc)
{
    return rpc->options.timeout_ms;
}

void cny_rpc_count_retry(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    rpc->statistics.retried++;
    cny_rpc_unlock(rpc);
}

void cny_rpc_statistics(cny_rpc *rpc, coney_rpc_statistics *statistics)
{
    cny_rpc_lock(rpc);
    *statistics = rpc->statistics;
    statistics->circuits_open = rpc->circuits.not_closed;
    statistics->circuits_opened = rpc->circuits.opened;
    statistics->channels = 0;
    for (const cny_reply_channel *each = rpc->channels; each; each = each->next)
        statistics->channels++;
    cny_rpc_unlock(rpc);
}
