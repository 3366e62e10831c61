/* SPDX-License-Identifier: MIT */
/* The admin (Spring: RabbitAdmin). Every call opens a channel, does its work there and closes it. A refusal costs the
 * channel, so it disturbs nobody else, and calls need no lock. The channels belong to the consuming connection, because
 * an exclusive queue belongs to the connection that has declared it. The factory declares the topology, together with
 * what others bring. On threads of the program. It must not know how connections come back. */
#include "rabbit/factory/factory.h"

#define DEFAULT_TIMEOUT_MS 10000

/* All fixed after new. */
struct coney_admin {
    coney_connection_factory *factory;
    cny_declaration_set *declarations; /* the topology; NULL: there is none */
    int timeout_ms;
};

/* ---- life ---- */

static void free_admin(coney_admin *admin)
{
    cny_declaration_set_unref(admin->declarations);
    cny_factory_unref(admin->factory);
    cny_free(admin);
}

void coney_admin_free(coney_admin *admin)
{
    CNY_DISABLE_CANCEL();
    if (!admin || cny_factory_check_process(admin->factory) != CONEY_OK)
        return;
    if (admin->declarations)
        cny_declarations_leave(admin->factory, admin->declarations);
    free_admin(admin);
}

static coney_status check_options(const coney_admin_options *options)
{
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->topology && options->topology->failure)
        return cny_error_raise(options->topology->failure);
    return CONEY_OK;
}

static coney_status add_topology(coney_admin *made, const coney_admin_options *options)
{
    coney_topology *copy = cny_topology_copy(options->topology);
    made->declarations = copy ? cny_declaration_set_new(copy, made->timeout_ms) : NULL;
    return made->declarations ? cny_declarations_join(made->factory, made->declarations, !options->no_auto_declare)
                              : cny_fail_memory();
}

coney_status coney_admin_new(coney_admin **admin, coney_connection_factory *factory, const coney_admin_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_admin_options defaults;
    if (!options)
        options = &defaults;
    if (admin)
        *admin = NULL;
    if (!admin || !factory)
        return cny_fail(CONEY_E_INVALID, "admin: admin or factory is NULL");
    if (check_options(options) != CONEY_OK || cny_factory_check_process(factory) != CONEY_OK)
        return cny_fail_in("admin");
    coney_admin *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    made->factory = cny_factory_ref(factory);
    made->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    coney_status status = options->topology ? add_topology(made, options) : CONEY_OK;
    if (status != CONEY_OK) {
        free_admin(made);
        return status;
    }
    *admin = made;
    return CONEY_OK;
}

/* ---- one task on a channel of its own ---- */

typedef struct task {
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
    task one = {.deadline = cny_deadline(admin->timeout_ms)};
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

static coney_status declare_queue(const task *one, const void *queue, void *info)
{
    return cny_channel_declare_queue(one->channel, queue, false, info, one->deadline);
}

static coney_status declare_exchange(const task *one, const void *exchange, void *unused)
{
    (void)unused;
    return cny_channel_declare_exchange(one->channel, exchange, one->deadline);
}

static coney_status declare_binding(const task *one, const void *binding, void *unused)
{
    (void)unused;
    return cny_channel_bind(one->channel, binding, one->deadline);
}

static coney_status remove_binding(const task *one, const void *binding, void *unused)
{
    (void)unused;
    return cny_channel_unbind(one->channel, binding, one->deadline);
}

static coney_status inspect_queue(const task *one, const void *queue, void *info)
{
    return cny_channel_declare_queue(one->channel, &(coney_queue){.name = queue}, true, info, one->deadline);
}

static coney_status delete_queue(const task *one, const void *queue, void *message_count)
{
    return cny_channel_delete_queue(one->channel, queue, message_count, one->deadline);
}

static coney_status delete_exchange(const task *one, const void *exchange, void *unused)
{
    (void)unused;
    return cny_channel_delete_exchange(one->channel, exchange, one->deadline);
}

static coney_status purge_queue(const task *one, const void *queue, void *message_count)
{
    return cny_channel_purge(one->channel, queue, message_count, one->deadline);
}

/* ---- single things ---- */

coney_status coney_admin_declare_queue(coney_admin *admin, const coney_queue *queue, coney_queue_info *info)
{
    CNY_DISABLE_CANCEL();
    coney_status status = perform(admin, "declare a queue", cny_queue_check(queue), declare_queue, queue, info);
    if (status == CONEY_OK)
        cny_declarations_appeared(admin->factory, CNY_DECLARE_QUEUE, queue->name);
    return status;
}

coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange)
{
    CNY_DISABLE_CANCEL();
    coney_status status =
        perform(admin, "declare an exchange", cny_exchange_check(exchange), declare_exchange, exchange, NULL);
    if (status == CONEY_OK)
        cny_declarations_appeared(admin->factory, CNY_DECLARE_EXCHANGE, exchange->name);
    return status;
}

coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "declare a binding", cny_binding_check(binding), declare_binding, binding, NULL);
}

coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "remove a binding", cny_binding_check(binding), remove_binding, binding, NULL);
}

coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "queue info", check_name("queue name", queue), inspect_queue, queue, info);
}

coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "delete a queue", check_name("queue name", queue), delete_queue, queue, message_count);
}

static coney_status check_deletable(const char *exchange)
{
    if (exchange && !*exchange)
        return cny_fail(CONEY_E_INVALID, "exchange: the default exchange \"\" cannot be deleted; it is always there");
    return check_name("exchange name", exchange);
}

coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "delete an exchange", check_deletable(exchange), delete_exchange, exchange, NULL);
}

coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    CNY_DISABLE_CANCEL();
    return perform(admin, "purge a queue", check_name("queue name", queue), purge_queue, queue, message_count);
}

/* ---- the topology ---- */

coney_status coney_admin_declare(coney_admin *admin)
{
    CNY_DISABLE_CANCEL();
    if (!admin || !admin->declarations)
        return cny_fail(CONEY_E_INVALID, "declare: the admin is NULL or was made without a topology");
    coney_status status = cny_factory_check_process(admin->factory);
    return status == CONEY_OK ? cny_declarations_declare(admin->factory, admin->declarations, admin->timeout_ms)
                              : status;
}
