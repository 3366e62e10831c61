/* SPDX-License-Identifier: MIT */
/* What a listener brings: its own queue and bindings, if its options say so, the ladder of its retries, and the parking
 * queue. And what the declarations of the factory, which admins bring, too, say of the listener's queue. Any thread. */
#include "rabbit/listener/spec/checks.h"
#include "topology/topology.h"

#include <stdio.h>
#include <string.h>

#define DECLARE_MS 5000

/* For example "orders.retry.5000". The delay is part of the name, so that a listener with another delay declares
 * another queue, and not this one with other arguments, which the broker would refuse. */
static coney_status name_queue(cny_spec *made, const char **name, const char *suffix)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", made->options.queue, suffix);
    if (cny_check_name("the name of a queue of the ladder", text) != CONEY_OK)
        return CONEY_E_INVALID;
    return cny_arena_strdup(&made->arena, name, text) ? CONEY_OK : cny_fail_memory();
}

static coney_status name_queues(cny_spec *made)
{
    coney_listener_retry *retry = &made->options.retry;
    coney_status status = CONEY_OK;
    for (int i = 0; i < CONEY_MAX_DELAYS && retry->delays_ms[i] > 0 && status == CONEY_OK; i++) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, ".retry.%d", retry->delays_ms[i]);
        status = name_queue(made, &made->delay_queues[i], suffix);
        made->delay_count = i + 1;
    }
    if (status == CONEY_OK && !retry->parking_queue && retry->exhausted == CONEY_EXHAUSTED_PARK)
        status = name_queue(made, &retry->parking_queue, ".parking");
    return status;
}

/* A quorum queue dead-letters expired messages safely only with the strategy at-least-once, which needs
 * reject-publish. */
static void add_rung(coney_topology *queues, const cny_spec *made, int rung)
{
    const coney_listener_retry *retry = &made->options.retry;
    bool is_quorum = retry->ladder_kind == CONEY_QUORUM;
    coney_topology_add_queue(
        queues, &(coney_queue){
                    .name = made->delay_queues[rung],
                    .kind = retry->ladder_kind,
                    .message_ttl_ms = retry->delays_ms[rung],
                    .dead_letter_exchange = "",
                    .dead_letter_routing_key = made->options.queue,
                    .overflow = is_quorum ? CONEY_REJECT_PUBLISH : CONEY_OVERFLOW_DEFAULT,
                    .dead_letter_strategy = is_quorum ? CONEY_DEAD_LETTER_AT_LEAST_ONCE : CONEY_DEAD_LETTER_DEFAULT,
                });
}

/* The queue was added before: as it is brought here, or it is declared elsewhere. */
static void add_binding(coney_topology *queues, const coney_queue_binding *binding, const char *queue)
{
    coney_queue_binding copy = *binding;
    if (!copy.queue.name || copy.queue.anonymous)
        copy.queue = (coney_queue){.name = queue, .external = true};
    coney_topology_add_queue_binding(queues, &copy);
}

static coney_status add_declarations(cny_spec *made, const coney_listener *options)
{
    const coney_listener_retry *retry = &made->options.retry;
    bool parks = retry->exhausted == CONEY_EXHAUSTED_PARK;
    if (!options->declare && made->delay_count == 0 && !parks && options->binding_count == 0)
        return CONEY_OK;
    coney_topology *queues = coney_topology_new();
    if (!queues)
        return cny_fail_memory();
    if (options->declare)
        coney_topology_add_queue(queues, options->declare);
    for (size_t i = 0; i < options->binding_count; i++)
        add_binding(queues, &options->bindings[i], options->queue);
    for (int i = 0; i < made->delay_count; i++)
        add_rung(queues, made, i);
    if (parks)
        coney_topology_add_queue(queues, &(coney_queue){.name = retry->parking_queue, .kind = retry->ladder_kind});
    coney_status status = cny_error_raise(queues->failure);
    if (status != CONEY_OK) {
        coney_topology_free(queues);
        return status;
    }
    made->declarations = cny_declaration_set_new(queues, &(cny_set_options){.timeout_ms = DECLARE_MS});
    return made->declarations ? CONEY_OK : cny_fail_memory();
}

coney_status cny_plan_declarations(cny_spec *made, const coney_listener *options)
{
    coney_status status = name_queues(made);
    if (status == CONEY_OK)
        status = add_declarations(made, options);
    return status;
}

/* ---- the listener's own queue ---- */

static const coney_queue *find_given(const coney_listener *options, coney_queue *anonymous)
{
    const coney_queue *first = options->binding_count > 0 ? &options->bindings[0].queue : NULL;
    if (options->declare)
        return options->declare;
    if (!first || first->name || first->anonymous)
        return first;
    if (options->queue) /* it is declared elsewhere */
        return NULL;
    *anonymous = *first;
    anonymous->anonymous = true;
    return anonymous;
}

static coney_status check_bindings(const coney_listener *options, const coney_queue *own)
{
    if (options->binding_count > 0 && !options->bindings)
        return cny_fail(CONEY_E_INVALID, "binding_count is %zu, and bindings is NULL", options->binding_count);
    for (size_t i = 0; i < options->binding_count; i++) {
        const coney_queue *one = &options->bindings[i].queue;
        bool is_own = one->anonymous ? i == 0 && own && own->anonymous && !options->declare
                                     : !one->name || (options->queue && strcmp(one->name, options->queue) == 0);
        if (!is_own)
            return cny_fail(CONEY_E_INVALID,
                            "bindings[%zu] is for %s'%.255s', and the listener's queue is '%.255s'; leave the queue "
                            "out there, or make another listener",
                            i, one->anonymous ? "an anonymous queue " : "queue ", one->name ? one->name : "",
                            options->queue ? options->queue : "");
    }
    return CONEY_OK;
}

coney_status cny_resolve_queue(coney_listener *options, cny_own_queue *own)
{
    coney_queue anonymous;
    if (options->binding_count > 0 && !options->bindings)
        return check_bindings(options, NULL);
    const coney_queue *given = find_given(options, &anonymous);
    coney_status status = given ? cny_queue_check(given) : CONEY_OK;
    if (status == CONEY_OK && given)
        status = cny_queue_resolve(&own->queue, own->name, given);
    if (status != CONEY_OK)
        return status;
    if (given && !options->queue)
        options->queue = own->queue.name;
    options->declare = given ? &own->queue : NULL;
    return check_bindings(options, given);
}

/* ---- what is known of them ---- */

coney_status cny_spec_learn_queue(cny_spec *spec, coney_connection_factory *factory)
{
    cny_declared_queue said;
    bool is_known = cny_declarations_find_queue(factory, spec->options.queue, &said);
    atomic_store(&spec->queue.is_certain, said.is_so);
    atomic_store(&spec->queue.delivery_limit, said.delivery_limit);
    if (!is_known || cny_spec_is_stream(spec))
        return CONEY_OK;
    if (said.single_active_consumer)
        atomic_store(&spec->queue.keeps_order, true);
    coney_status status = cny_check_delaying_queue(&spec->options, said.delays_failures, said.delivery_limit);
    if (status == CONEY_OK && said.kind == CONEY_STREAM)
        status = cny_check_stream(&spec->options);
    if (status == CONEY_OK)
        atomic_store(&spec->queue.kind, (int)said.kind);
    return status;
}

/* Whether a queue will do that exists with other properties. A queue that this program may not declare will do, and so
 * will a parking queue with a limit or of another kind. A queue of the ladder will not, because it might keep messages
 * for ever; nor will the listener's own, because the program has said how that is to be. */
static bool accepts(const char *name, coney_status refusal, void *user)
{
    const cny_spec *spec = user;
    const char *parking = spec->options.retry.parking_queue;
    return refusal == CONEY_E_ACCESS_REFUSED || (parking && strcmp(name, parking) == 0);
}

cny_declaration_state cny_spec_declarations(const cny_spec *spec, coney_connection_factory *factory, cny_error **error)
{
    *error = NULL;
    return spec->declarations
               ? cny_declaration_set_state(factory, spec->declarations, accepts, (void *)(uintptr_t)spec, error)
               : CNY_DECLARATION_DECLARED;
}
