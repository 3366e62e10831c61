/* SPDX-License-Identifier: MIT */
/* Single declarations, questions and deletions. Every call opens a channel, does its work there and closes it. A
 * refusal costs the channel, so it disturbs nobody else, and calls need no lock. The channels belong to the consuming
 * connection, because an exclusive queue belongs to the connection that has declared it. On threads of the program. It
 * must not know the topology. */
#include "amqp/amqp.h"
#include "rabbit/admin/parts.h"
#include "topology/topology.h"

#include <stdio.h>

/* ---- one task on a channel of its own ---- */

typedef struct task {
    coney_admin *admin;
    cny_channel *channel;
    int64_t deadline;
} task;

typedef coney_status work(const task *one, const void *thing, void *result);

static coney_status perform(coney_admin *admin, const char *what, coney_status checked, work *function,
                            const void *thing, void *result)
{
    if (checked != CONEY_OK)
        return checked;
    if (!admin)
        return cny_fail(CONEY_E_INVALID, "the admin is NULL");
    coney_status status = cny_factory_check_process(admin->factory);
    if (status != CONEY_OK)
        return status;
    task one = {.admin = admin, .deadline = cny_deadline(admin->options.timeout_ms)};
    if (cny_channel_open(&one.channel, admin->factory, CONEY_CONSUMING, false, one.deadline) != CONEY_OK)
        return cny_fail_in("%s", what);
    status = function(&one, thing, result);
    cny_channel_close(one.channel);
    cny_channel_unref(one.channel);
    return status;
}

static coney_status check_name(const char *what, const char *name)
{
    return name ? cny_check_name(what, name) : cny_fail(CONEY_E_INVALID, "the %s is NULL", what);
}

/* ---- declaring ---- */

static coney_status declare_queue(const task *one, const void *queue, void *info)
{
    coney_status status = cny_channel_declare_queue(one->channel, queue, false, info, one->deadline);
    if (status != CONEY_OK)
        return status;
    cny_warn_of_transient_queue(queue, cny_channel_broker_version(one->channel));
    return *((const coney_queue *)queue)->name ? cny_admin_remember(one->admin, CNY_DECLARE_QUEUE, queue, one->channel)
                                               : CONEY_OK;
}

static coney_status declare_exchange(const task *one, const void *exchange, void *unused)
{
    (void)unused;
    coney_status status = cny_channel_declare_exchange(one->channel, exchange, false, one->deadline);
    return status == CONEY_OK ? cny_admin_remember(one->admin, CNY_DECLARE_EXCHANGE, exchange, one->channel) : status;
}

static coney_status declare_binding(const task *one, const void *binding, void *unused)
{
    (void)unused;
    coney_status status = cny_channel_bind(one->channel, binding, one->deadline);
    return status == CONEY_OK ? cny_admin_remember(one->admin, cny_binding_kind(binding), binding, one->channel)
                              : status;
}

coney_status coney_admin_declare_queue(coney_admin *admin, const coney_queue *queue, coney_queue_info *info)
{
    CNY_DISABLE_CANCEL();
    char name[CONEY_NAME_SIZE];
    coney_queue resolved = {0};
    coney_status status = cny_queue_check(queue);
    if (status == CONEY_OK)
        status = cny_queue_resolve(&resolved, name, queue);
    status = perform(admin, "declare a queue", status, declare_queue, &resolved, info);
    if (status == CONEY_OK && admin)
        cny_declarations_appeared(admin->factory, CNY_DECLARE_QUEUE, resolved.name);
    return status;
}

coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange)
{
    CNY_DISABLE_CANCEL();
    if (admin && exchange && exchange->name && !*exchange->name) /* the default exchange is always there */
        return CONEY_OK;
    coney_status status =
        perform(admin, "declare an exchange", cny_exchange_check(exchange), declare_exchange, exchange, NULL);
    if (status == CONEY_OK && admin && exchange)
        cny_declarations_appeared(admin->factory, CNY_DECLARE_EXCHANGE, exchange->name);
    return status;
}

coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding)
{
    CNY_DISABLE_CANCEL();
    if (admin && cny_binding_is_implicit(binding))
        return CONEY_OK;
    return perform(admin, "declare a binding", cny_binding_check(binding), declare_binding, binding, NULL);
}

static coney_status remove_binding(const task *one, const void *binding, void *unused)
{
    (void)unused;
    coney_status status = cny_channel_unbind(one->channel, binding, one->deadline);
    if (status == CONEY_OK)
        cny_admin_forget_single(one->admin, cny_binding_kind(binding), binding);
    return status;
}

coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding)
{
    CNY_DISABLE_CANCEL();
    if (admin && cny_binding_is_implicit(binding))
        return CONEY_OK;
    return perform(admin, "remove a binding", cny_binding_check(binding), remove_binding, binding, NULL);
}

/* ---- questions ---- */

static coney_status inspect_queue(const task *one, const void *queue, void *info)
{
    return cny_channel_declare_queue(one->channel, &(coney_queue){.name = queue}, true, info, one->deadline);
}

static coney_status inspect_exchange(const task *one, const void *exchange, void *unused)
{
    (void)unused;
    return cny_channel_declare_exchange(one->channel, &(coney_exchange){.name = exchange}, true, one->deadline);
}

coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "queue info", check_name("queue name", queue), inspect_queue, queue, info);
}

/* A queue that another connection has exclusively is there. */
static coney_status tell_existence(coney_status status, bool *exists)
{
    *exists = status == CONEY_OK || status == CONEY_E_RESOURCE_LOCKED;
    return *exists || status == CONEY_E_NOT_FOUND ? CONEY_OK : status;
}

coney_status coney_admin_queue_exists(coney_admin *admin, const char *queue, bool *exists)
{
    CNY_DISABLE_CANCEL();
    if (!exists)
        return cny_fail(CONEY_E_INVALID, "queue exists: the result is NULL");
    coney_status checked = check_name("queue name", queue);
    return tell_existence(perform(admin, "queue exists", checked, inspect_queue, queue, NULL), exists);
}

coney_status coney_admin_exchange_exists(coney_admin *admin, const char *exchange, bool *exists)
{
    CNY_DISABLE_CANCEL();
    if (!exists)
        return cny_fail(CONEY_E_INVALID, "exchange exists: the result is NULL");
    coney_status checked = check_name("exchange name", exchange);
    if (admin && checked == CONEY_OK && !*exchange)
        return tell_existence(CONEY_OK, exists);
    return tell_existence(perform(admin, "exchange exists", checked, inspect_exchange, exchange, NULL), exists);
}

/* ---- deleting ---- */

typedef struct deletion {
    const char *name;
    coney_delete_options options;
} deletion;

/* RabbitMQ closes the connection over these flags if the queue is a quorum queue, and ignores them if it is a stream,
 * so for these the numbers are asked for first. */
static coney_status check_conditions(const task *one, const deletion *what)
{
    coney_queue_info info;
    coney_status status = inspect_queue(one, what->name, &info);
    if (status != CONEY_OK)
        return status;
    if (what->options.if_unused && info.consumer_count > 0)
        return cny_fail(CONEY_E_PRECONDITION_FAILED, "delete queue '%s': it has %u consumers, and if_unused is set",
                        what->name, info.consumer_count);
    if (what->options.if_empty && info.message_count > 0)
        return cny_fail(CONEY_E_PRECONDITION_FAILED, "delete queue '%s': it has %u messages, and if_empty is set",
                        what->name, info.message_count);
    return CONEY_OK;
}

static coney_status delete_queue(const task *one, const void *thing, void *message_count)
{
    const deletion *what = thing;
    coney_delete_options sent = what->options;
    coney_status status = CONEY_OK;
    if ((sent.if_unused || sent.if_empty) && sent.kind != CONEY_CLASSIC) {
        sent.if_unused = sent.if_empty = false;
        status = check_conditions(one, what);
    }
    if (status == CONEY_OK)
        status = cny_channel_delete_queue(one->channel, what->name, &sent, message_count, one->deadline);
    if (status == CONEY_E_NOT_FOUND) { /* as for the broker, what is not there is deleted */
        status = CONEY_OK;
        if (message_count)
            *(uint32_t *)message_count = 0;
    }
    if (status == CONEY_OK)
        cny_admin_forget_single(one->admin, CNY_DECLARE_QUEUE, what->name);
    return status;
}

/* Fills in the kind from what the factory has declared. */
static coney_status check_deletion(coney_admin *admin, deletion *what)
{
    coney_status status = check_name("queue name", what->name);
    if (status != CONEY_OK || !admin || (!what->options.if_unused && !what->options.if_empty) || what->options.kind)
        return status;
    cny_declared_queue declared;
    if (cny_declarations_find_queue(admin->factory, what->name, &declared) && declared.is_so)
        what->options.kind = declared.kind;
    if (what->options.kind == CONEY_QUEUE_DEFAULT)
        return cny_fail(CONEY_E_INVALID,
                        "delete queue '%s': nobody here has declared its kind, and if it is a quorum queue, the broker "
                        "closes the connection over %s; set kind in coney_delete_options",
                        what->name, what->options.if_unused ? "if_unused" : "if_empty");
    return CONEY_OK;
}

coney_status coney_admin_delete_queue_if(coney_admin *admin, const char *queue, const coney_delete_options *options,
                                         uint32_t *message_count)
{
    CNY_DISABLE_CANCEL();
    deletion what = {.name = queue};
    if (options)
        what.options = *options;
    coney_status checked =
        what.options.kind < CONEY_QUEUE_DEFAULT || what.options.kind > CONEY_STREAM
            ? cny_fail(CONEY_E_INVALID, "delete a queue: %d is no coney_queue_kind", (int)what.options.kind)
            : check_deletion(admin, &what);
    return perform(admin, "delete a queue", checked, delete_queue, &what, message_count);
}

coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    CNY_DISABLE_CANCEL();
    return coney_admin_delete_queue_if(admin, queue, NULL, message_count);
}

typedef struct exchange_deletion {
    const char *name;
    bool if_unused;
} exchange_deletion;

static coney_status delete_exchange(const task *one, const void *thing, void *unused)
{
    (void)unused;
    const exchange_deletion *what = thing;
    coney_status status = cny_channel_delete_exchange(one->channel, what->name, what->if_unused, one->deadline);
    if (status == CONEY_OK)
        cny_admin_forget_single(one->admin, CNY_DECLARE_EXCHANGE, what->name);
    return status;
}

static coney_status delete_exchange_if(coney_admin *admin, const char *exchange, bool if_unused)
{
    const exchange_deletion what = {.name = exchange, .if_unused = if_unused};
    if (admin && exchange && !*exchange) /* the default exchange stays; Spring says yes to that, too */
        return CONEY_OK;
    return perform(admin, "delete an exchange", check_name("exchange name", exchange), delete_exchange, &what, NULL);
}

coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange)
{
    CNY_DISABLE_CANCEL();
    return delete_exchange_if(admin, exchange, false);
}

coney_status coney_admin_delete_exchange_if_unused(coney_admin *admin, const char *exchange)
{
    CNY_DISABLE_CANCEL();
    return delete_exchange_if(admin, exchange, true);
}

/* ---- purging ---- */

static coney_status purge_queue(const task *one, const void *queue, void *message_count)
{
    return cny_channel_purge(one->channel, queue, message_count, one->deadline);
}

/* RabbitMQ closes the connection over the purge of a stream. */
static coney_status check_purge(coney_admin *admin, const char *queue)
{
    cny_declared_queue declared;
    coney_status status = check_name("queue name", queue);
    bool is_stream = status == CONEY_OK && admin && cny_declarations_find_queue(admin->factory, queue, &declared) &&
                     declared.kind == CONEY_STREAM;
    return is_stream ? cny_fail(CONEY_E_INVALID,
                                "purge queue '%s': it is a stream, which the broker cannot purge; delete the stream, "
                                "or let max_age end its messages",
                                queue)
                     : status;
}

coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "purge a queue", check_purge(admin, queue), purge_queue, queue, message_count);
}

/* A purge for which nobody waits. It knows nothing of the admin, which may be freed meanwhile. */
typedef struct purge {
    coney_connection_factory *factory; /* a reference, until the purge has ended */
    coney_purge_callback *callback;    /* NULL: nobody is told */
    void *user;
    int timeout_ms;
    uint32_t message_count;
    char queue[CONEY_NAME_SIZE];
} purge;

static void tell_purge(coney_message *none, const coney_error *error, void *user)
{
    (void)none;
    purge *one = user;
    one->callback(one->message_count, error, one->user);
    cny_free(one);
}

static coney_status purge_now(purge *one)
{
    cny_channel *channel;
    int64_t deadline = cny_deadline(one->timeout_ms);
    if (cny_channel_open(&channel, one->factory, CONEY_CONSUMING, false, deadline) != CONEY_OK)
        return cny_fail_in("purge queue '%s'", one->queue);
    coney_status status = cny_channel_purge(channel, one->queue, &one->message_count, deadline);
    cny_channel_close(channel);
    cny_channel_unref(channel);
    return status;
}

static void *run_purge(void *argument)
{
    purge *one = argument;
    coney_connection_factory *factory = one->factory;
    cny_error *error = purge_now(one) == CONEY_OK ? NULL : cny_error_capture();
    if (!one->callback && error)
        cny_log(CONEY_LOG_WARN, "%s", cny_error_view(error)->text);
    if (!one->callback || !cny_factory_post(factory, tell_purge, error, one))
        cny_free(one);
    cny_error_unref(error);
    cny_factory_unref(factory);
    return NULL;
}

coney_status coney_admin_purge_queue_async(coney_admin *admin, const char *queue, coney_purge_callback *callback,
                                           void *user)
{
    CNY_DISABLE_CANCEL();
    coney_status status = check_purge(admin, queue);
    if (status == CONEY_OK)
        status = admin ? cny_factory_check_process(admin->factory) : cny_fail(CONEY_E_INVALID, "the admin is NULL");
    if (status == CONEY_OK)
        status = cny_factory_check_draining(admin->factory);
    if (status != CONEY_OK)
        return status;
    purge *one = cny_alloc(sizeof *one);
    if (!one)
        return cny_fail_memory();
    one->factory = cny_factory_ref(admin->factory);
    one->callback = callback;
    one->user = user;
    one->timeout_ms = admin->options.timeout_ms;
    snprintf(one->queue, sizeof one->queue, "%s", queue);
    const cny_thread thread = {.name = "coney-purge", .run = run_purge, .argument = one};
    status = cny_threads_start(cny_factory_threads(admin->factory), admin->factory, &thread);
    if (status != CONEY_OK) {
        cny_factory_unref(one->factory);
        cny_free(one);
    }
    return status;
}
