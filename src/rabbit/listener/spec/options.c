/* SPDX-License-Identifier: MIT */
/* The defaults of a listener's options, the copy that the container keeps, and what follows from the options. Any
 * thread. */
#include "rabbit/listener/spec/checks.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_PREFETCH 250 /* Spring's */
#define STREAM_ATTEMPTS 3

/* ---- defaults ---- */

static void set_default(int *option, int value)
{
    if (*option == 0)
        *option = value;
}

static void set_retry_defaults(coney_listener_retry *retry)
{
    set_default(&retry->max_attempts, cny_default_attempts(retry));
    set_default(&retry->first_delay_ms, 1000);
    set_default(&retry->max_delay_ms, 10000);
    if (retry->multiplier == 0)
        retry->multiplier = 2;
    if (retry->exhausted == CONEY_EXHAUSTED_DEFAULT)
        retry->exhausted = retry->delays_ms[0] || retry->delayed_by_queue || retry->parking_queue
                               ? CONEY_EXHAUSTED_PARK
                               : CONEY_EXHAUSTED_REJECT;
}

static void set_defaults(coney_listener *options)
{
    set_default(&options->concurrency, 1);
    set_default(&options->max_concurrency, options->concurrency);
    set_default(&options->elasticity.cycle_ms, 1000);
    set_default(&options->elasticity.active_trigger, 10);
    set_default(&options->elasticity.idle_trigger, 10);
    set_default(&options->elasticity.grow_interval_ms, 10000);
    set_default(&options->elasticity.shrink_interval_ms, 60000);
    set_default(&options->prefetch, DEFAULT_PREFETCH);
    set_default(&options->lanes, 1);
    set_default(&options->ack_every, 1);
    set_default(&options->ack_after_ms, 1000);
    set_default(&options->batch_size, options->on_batch ? 100 : 1);
    set_default(&options->batch_timeout_ms, 1000);
    set_default(&options->slow_handler_ms, 30000);
    int together = options->on_batch ? options->batch_size : options->ack_every;
    if (options->prefetch < together)
        options->prefetch = together;
    if (!options->reply_converter)
        options->reply_converter = options->converter;
    set_retry_defaults(&options->retry);
}

static bool has_retry(const coney_listener_retry *retry)
{
    return retry->max_attempts || retry->stateful || retry->delays_ms[0] || retry->parking_queue ||
           retry->exhausted != CONEY_EXHAUSTED_DEFAULT;
}

/* ---- the copy ---- */

static bool copy_handlers(cny_spec *made, const coney_listener *options)
{
    if (options->handler_count == 0)
        return true;
    size_t size = options->handler_count * sizeof *options->handlers;
    coney_typed_handler *copies = (coney_typed_handler *)(void *)cny_arena_alloc(&made->arena, size);
    if (!copies)
        return false;
    memcpy(copies, options->handlers, size);
    for (size_t i = 0; i < options->handler_count; i++) {
        copies[i].payload_type = cny_payload_type(options, &options->handlers[i]);
        if (!cny_arena_strdup(&made->arena, &copies[i].type, cny_handled_type(&options->handlers[i])))
            return false;
    }
    made->options.handlers = copies;
    return true;
}

/* The types of which a message may name one. */
static bool gather_types(cny_spec *made, const coney_listener *options)
{
    bool is_by_id = options->type_precedence == CONEY_TYPE_ID;
    size_t most = options->types.count + 1 + options->handler_count, count = options->types.count;
    if (!is_by_id && count == 0)
        return true;
    const coney_type **all = (const coney_type **)cny_arena_alloc(&made->arena, most * sizeof *all);
    if (!all)
        return false;
    if (count > 0)
        memcpy(all, options->types.types, count * sizeof *all);
    if (is_by_id && options->type)
        all[count++] = options->type;
    for (size_t i = 0; is_by_id && i < options->handler_count; i++) {
        if (options->handlers[i].payload_type)
            all[count++] = options->handlers[i].payload_type;
    }
    made->types = (coney_types){all, count};
    made->options.types = (coney_types){0};
    return true;
}

static bool copy_texts(cny_spec *made, const coney_listener *from)
{
    coney_listener *to = &made->options;
    cny_arena *arena = &made->arena;
    to->arguments = from->arguments ? cny_table_copy(arena, from->arguments) : NULL;
    return (to->arguments || !from->arguments) && cny_arena_strdup(arena, &to->queue, from->queue) &&
           cny_arena_strdup(arena, &to->id, from->id) && cny_arena_strdup(arena, &to->group, from->group) &&
           cny_arena_strdup(arena, &to->lane_header, from->lane_header) &&
           cny_arena_strdup(arena, &to->consumer_tag, from->consumer_tag) &&
           cny_arena_strdup(arena, &to->send_to, from->send_to) &&
           cny_arena_strdup(arena, &to->retry.exchange, from->retry.exchange) &&
           cny_arena_strdup(arena, &to->retry.routing_key, from->retry.routing_key) &&
           cny_arena_strdup(arena, &to->retry.parking_queue, from->retry.parking_queue);
}

static bool add_priority(cny_spec *made)
{
    coney_table *arguments = cny_table_copy(&made->arena, made->options.arguments);
    const coney_value priority = {.type = CONEY_INT32, .as.integer = made->options.priority};
    made->options.arguments = arguments;
    return arguments && coney_table_set(arguments, "x-priority", &priority) == CONEY_OK;
}

/* ---- quarantine ---- */

static bool counts_returns(coney_queue_kind kind)
{
    return kind != CONEY_CLASSIC && kind != CONEY_STREAM;
}

static coney_status plan_quarantine(cny_spec *made, const coney_queue *declared)
{
    coney_listener_retry *retry = &made->options.retry;
    bool is_asked_for = retry->max_crashes > 0, may_count = !declared || counts_returns(cny_queue_kind(declared));
    if (is_asked_for && cny_acknowledges_nothing(made))
        return cny_fail(
            CONEY_E_INVALID,
            "retry.max_crashes is %d; it counts how often a message comes back, and with acknowledge NONE no "
            "message does",
            retry->max_crashes);
    if (is_asked_for && !may_count)
        return cny_fail(CONEY_E_INVALID,
                        "retry.max_crashes is %d; only a quorum queue counts how often a message comes back, and the "
                        "queue is declared otherwise: its kind must be CONEY_QUORUM",
                        retry->max_crashes);
    if (retry->max_crashes == 0 && retry->stateful && may_count)
        retry->max_crashes = retry->max_attempts;
    if (retry->max_crashes <= 0)
        return CONEY_OK;
    char name[512];
    snprintf(name, sizeof name, "%s.quarantine", made->options.queue);
    if (!is_asked_for && strlen(name) > CNY_MAX_SHORT_STRING)
        return CONEY_OK;
    if (cny_check_name("the name of the queue for messages that retry.max_crashes suspects", name) != CONEY_OK)
        return CONEY_E_INVALID;
    return cny_arena_strdup(&made->arena, &made->quarantine_queue, name) ? CONEY_OK : cny_fail_memory();
}

/* ---- life ---- */

coney_status cny_spec_init(cny_spec *spec, const coney_listener *options)
{
    coney_listener named = *options;
    cny_own_queue own;
    named.retry.stateful |= named.retry.delayed_by_queue;
    coney_status status = cny_resolve_queue(&named, &own);
    if (status == CONEY_OK)
        status = cny_check_listener(&named);
    if (status != CONEY_OK)
        return status;
    spec->options = named;
    spec->options.declare = NULL; /* in declarations, as are the bindings */
    spec->options.bindings = NULL;
    spec->options.binding_count = 0;
    spec->has_retry = has_retry(&named.retry);
    spec->has_own_attempts = named.retry.max_attempts != 0;
    set_defaults(&spec->options);
    atomic_store(&spec->queue.keeps_order, named.exclusive);
    if (cny_is_stream(&named))
        atomic_store(&spec->queue.kind, CONEY_STREAM);
    if (!copy_texts(spec, &named) || !copy_handlers(spec, &named) || !gather_types(spec, &named) ||
        (named.priority && !add_priority(spec)))
        return cny_fail_memory();
    status = plan_quarantine(spec, named.declare);
    return status == CONEY_OK ? cny_plan_declarations(spec, &named) : status;
}

void cny_spec_free(cny_spec *spec)
{
    cny_declaration_set_unref(spec->declarations);
    cny_arena_free(&spec->arena);
}

/* ---- what follows from the options ---- */

bool cny_spec_has_retry(const cny_spec *spec)
{
    return spec->has_retry || cny_spec_is_stream(spec);
}

int cny_spec_max_attempts(const cny_spec *spec)
{
    bool is_default = cny_spec_is_stream(spec) && !spec->has_own_attempts;
    return is_default ? STREAM_ATTEMPTS : spec->options.retry.max_attempts;
}

bool cny_spec_is_guarded(const cny_spec *spec)
{
    return spec->quarantine_queue && counts_returns(cny_spec_queue_kind(spec));
}
