/* SPDX-License-Identifier: MIT */
/* The options of a template: checks, defaults, and the template's own copy. Any thread. */
#include "rabbit/template/options.h"

#include <coney/amqp/json.h>

#include <string.h>

#define DEFAULT_TIMEOUT_MS 10000
#define DEFAULT_MAX_UNCONFIRMED 10000
#define DEFAULT_CONFIRM_TIMEOUT_MS 30000
#define DEFAULT_STORED_MESSAGES 10000
#define DEFAULT_STORED_BYTES ((size_t)64 << 20)
#define DEFAULT_MAX_DELAY_MS 10000

/* ---- checks ---- */

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

static coney_status check_retry(const coney_retry_options *retry)
{
    if (retry->max_attempts < 0)
        return cny_fail(CONEY_E_INVALID, "retry.max_attempts is %d, below 0", retry->max_attempts);
    return cny_backoff_check("retry", retry->first_delay_ms, retry->multiplier, retry->max_delay_ms);
}

coney_status cny_template_check_options(const coney_template_options *options)
{
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->max_unconfirmed < 0)
        return cny_fail(CONEY_E_INVALID, "max_unconfirmed is %d, which is below 0", options->max_unconfirmed);
    coney_status status = check_flow(options);
    if (status == CONEY_OK)
        status = cny_types_check(&options->types);
    if (status == CONEY_OK)
        status = check_retry(&options->retry);
    if (status == CONEY_OK)
        status = cny_rpc_check_options(&options->rpc);
    if (status == CONEY_OK)
        status = cny_check_name("exchange", options->exchange);
    if (status == CONEY_OK)
        status = cny_check_name("routing key", options->routing_key);
    if (status == CONEY_OK)
        status = cny_check_name("receive_queue", options->receive_queue);
    return status == CONEY_OK ? cny_check_name("user_id", options->user_id) : status;
}

/* ---- the copy ---- */

static void set_default(int *option, int value)
{
    if (*option == 0)
        *option = value;
}

static void set_defaults(coney_template_options *own)
{
    coney_retry_options *retry = &own->retry;
    if (!own->converter)
        own->converter = coney_json_converter();
    set_default(&own->timeout_ms, DEFAULT_TIMEOUT_MS);
    set_default(&own->max_unconfirmed, DEFAULT_MAX_UNCONFIRMED);
    set_default(&own->confirm_timeout_ms, own->resend_unconfirmed ? -1 : DEFAULT_CONFIRM_TIMEOUT_MS);
    set_default(&own->store.max_messages, DEFAULT_STORED_MESSAGES);
    if (own->store.max_bytes == 0)
        own->store.max_bytes = DEFAULT_STORED_BYTES;
    set_default(&retry->max_attempts, 1);
    cny_backoff_set_defaults(&retry->first_delay_ms, &retry->multiplier, &retry->max_delay_ms, DEFAULT_MAX_DELAY_MS);
}

/* As the first processor of its order. */
static coney_status add_message_ids(coney_template *sender)
{
    const coney_processor ids = coney_message_id_processor();
    return cny_processors_add(&sender->before_publish, &ids);
}

static bool copy_types(cny_arena *arena, coney_types *types)
{
    size_t size = types->count * sizeof *types->types;
    const coney_type **copy = cny_arena_alloc(arena, size);
    if (copy && size > 0)
        memcpy(copy, types->types, size);
    types->types = copy;
    return copy;
}

coney_status cny_template_copy_options(coney_template *sender, const coney_template_options *given)
{
    coney_template_options *own = &sender->options;
    *own = *given;
    own->rpc = (coney_rpc_options){0}; /* cny_rpc_new() has its own copy */
    bool copied = cny_arena_strdup(&sender->arena, &own->exchange, given->exchange ? given->exchange : "") &&
                  cny_arena_strdup(&sender->arena, &own->routing_key, given->routing_key ? given->routing_key : "") &&
                  cny_arena_strdup(&sender->arena, &own->receive_queue, given->receive_queue) &&
                  cny_arena_strdup(&sender->arena, &own->user_id, given->user_id);
    if (!copied)
        return cny_fail_memory();
    own->receive_arguments = given->receive_arguments ? cny_table_copy(&sender->arena, given->receive_arguments) : NULL;
    if (given->receive_arguments && !own->receive_arguments)
        return cny_fail_memory();
    if (!copy_types(&sender->arena, &own->types))
        return cny_fail_memory();
    set_defaults(own);
    return own->create_message_ids ? add_message_ids(sender) : CONEY_OK;
}

/* ---- what a call says, or else the options ---- */

coney_status cny_template_receive_queue(const coney_template *sender, const char **queue)
{
    if (!*queue)
        *queue = sender->options.receive_queue;
    if (!*queue || !**queue)
        return cny_fail(CONEY_E_INVALID, "receive: no queue; name one, or give the template a receive_queue");
    return cny_check_name("queue", *queue) == CONEY_OK ? CONEY_OK : cny_fail_in("receive");
}
