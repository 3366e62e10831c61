/* SPDX-License-Identifier: MIT */
/* The admin: every call opens a channel, does its work there and closes it. A refusal, which
 * costs AMQP a channel, thus costs nobody else anything, and calls need no lock. Channels live
 * on the consuming connection, because exclusive queues belong to the connection that declared
 * them. The recovery thread has the topology declared on each new connection. (Spring: RabbitAdmin.) */
#include "rabbit/connection/connection.h"

#include <stdatomic.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 10000

/* All fixed after new. */
struct coney_admin {
    atomic_uint refs; /* the program's and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    coney_topology *topology; /* may be NULL */
    int timeout_ms;
};

/* ---- life ---- */

static void ref_admin(void *self)
{
    coney_admin *admin = self;
    atomic_fetch_add_explicit(&admin->refs, 1, memory_order_relaxed);
}

static void unref_admin(void *self)
{
    coney_admin *admin = self;
    if (atomic_fetch_sub_explicit(&admin->refs, 1, memory_order_acq_rel) != 1)
        return;
    coney_topology_free(admin->topology);
    cny_factory_unref(admin->factory);
    cny_free(admin);
}

void coney_admin_free(coney_admin *admin)
{
    if (!admin || cny_factory_check_process(admin->factory) != CONEY_OK)
        return;
    cny_factory_leave(admin->factory, admin);
    unref_admin(admin);
}

static coney_status declare_on(void *self, cny_connection *connection, coney_connection_role role, int64_t deadline);

static const cny_member membership = {.ref = ref_admin, .unref = unref_admin, .declare = declare_on};

static coney_status check_options(const coney_admin_options *options)
{
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->topology && options->topology->failure)
        return cny_error_raise(options->topology->failure);
    return CONEY_OK;
}

coney_status coney_admin_new(coney_admin **admin, coney_connection_factory *factory, const coney_admin_options *options)
{
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
    atomic_init(&made->refs, 1);
    made->factory = cny_factory_ref(factory);
    made->timeout_ms = options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
    coney_status status = CONEY_OK;
    if (options->topology && !(made->topology = cny_topology_copy(options->topology)))
        status = cny_fail_memory();
    else if (options->topology && !options->no_auto_declare)
        status = cny_factory_join(factory, &membership, made);
    if (status != CONEY_OK) {
        unref_admin(made);
        return status;
    }
    *admin = made;
    return CONEY_OK;
}

/* ---- one piece of work on a channel of its own ---- */

typedef struct task {
    const coney_admin *admin;
    cny_connection *connection; /* NULL: the factory's consuming one, waited for */
    coney_connection_role role;
    cny_channel *channel; /* NULL: none open */
    int64_t deadline;
} task;

typedef coney_status work(const task *one, const void *thing, void *result);

static coney_status open_channel(task *one)
{
    if (one->connection)
        return cny_channel_open_on(&one->channel, one->connection, true, one->deadline);
    return cny_channel_open(&one->channel, one->admin->factory, CONEY_CONSUMING, false, one->deadline);
}

static void close_channel(task *one)
{
    cny_channel_close(one->channel);
    cny_channel_unref(one->channel);
    one->channel = NULL;
}

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
    task one = {.admin = admin, .deadline = cny_deadline(admin->timeout_ms)};
    status = open_channel(&one);
    if (status != CONEY_OK)
        status = cny_fail_in("%s", what);
    if (status == CONEY_OK)
        status = function(&one, thing, result);
    close_channel(&one);
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

static coney_status look_at_queue(const task *one, const void *queue, void *info)
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
    return perform(admin, "declare a queue", cny_queue_check(queue), declare_queue, queue, info);
}

coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange)
{
    return perform(admin, "declare an exchange", cny_exchange_check(exchange), declare_exchange, exchange, NULL);
}

coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding)
{
    return perform(admin, "declare a binding", cny_binding_check(binding), declare_binding, binding, NULL);
}

coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding)
{
    return perform(admin, "remove a binding", cny_binding_check(binding), remove_binding, binding, NULL);
}

coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info)
{
    return perform(admin, "queue info", check_name("queue name", queue), look_at_queue, queue, info);
}

coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    return perform(admin, "delete a queue", check_name("queue name", queue), delete_queue, queue, message_count);
}

coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange)
{
    return perform(admin, "delete an exchange", check_name("exchange name", exchange), delete_exchange, exchange, NULL);
}

coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count)
{
    return perform(admin, "purge a queue", check_name("queue name", queue), purge_queue, queue, message_count);
}

/* ---- the topology ---- */

/* The broker has answered and said no; only this one thing is concerned. */
static bool is_refusal(coney_status status)
{
    switch (status) {
    case CONEY_E_INVALID:
    case CONEY_E_ACCESS_REFUSED:
    case CONEY_E_NOT_FOUND:
    case CONEY_E_RESOURCE_LOCKED:
    case CONEY_E_PRECONDITION_FAILED:
    case CONEY_E_NOT_ALLOWED:
    case CONEY_E_BROKER: return true;
    default: return false;
    }
}

/* Exclusive queues belong to the connection that declares them, and one that the broker names
 * would get another name on each. */
static bool is_shared(const coney_queue *queue)
{
    return !queue->exclusive && queue->name && *queue->name;
}

static bool is_to_shared(const task *one, const coney_binding *binding)
{
    const cny_buffer *queues = &one->admin->topology->queues;
    const coney_queue *all = (const coney_queue *)(const void *)queues->data;
    for (size_t i = 0; !binding->to_exchange && i < queues->size / sizeof *all; i++) {
        if (strcmp(all[i].name, binding->destination) == 0)
            return is_shared(&all[i]);
    }
    return true;
}

static bool belongs_here(const task *one, work *function, const void *thing)
{
    if (one->role == CONEY_CONSUMING)
        return true;
    if (function == declare_queue)
        return is_shared(thing);
    return function != declare_binding || is_to_shared(one, thing);
}

/* Declares all things of one kind; refusals are logged, the first one is kept. A refusal costs
 * the channel, so the next thing gets a new one. */
static coney_status declare_all(task *one, work *function, const cny_buffer *things, size_t size, cny_error **refusal)
{
    for (size_t at = 0; at < things->size; at += size) {
        if (!one->channel || !cny_channel_alive(one->channel)) {
            close_channel(one);
            if (open_channel(one) != CONEY_OK) /* a refused login concerns everything */
                return coney_last_error_details()->status;
        }
        if (!belongs_here(one, function, things->data + at))
            continue;
        coney_status status = function(one, things->data + at, NULL);
        if (status != CONEY_OK && !is_refusal(status))
            return status;
        if (status == CONEY_OK)
            continue;
        cny_log(CONEY_LOG_WARN, "%s", coney_last_error());
        if (!*refusal)
            *refusal = cny_error_capture();
    }
    return CONEY_OK;
}

/* Refusals are logged; the first one is given. Any other failure ends it. */
static coney_status declare_topology(task *one, cny_error **refusal)
{
    const coney_topology *topology = one->admin->topology;
    coney_status status = declare_all(one, declare_exchange, &topology->exchanges, sizeof(coney_exchange), refusal);
    if (status == CONEY_OK)
        status = declare_all(one, declare_queue, &topology->queues, sizeof(coney_queue), refusal);
    if (status == CONEY_OK)
        status = declare_all(one, declare_binding, &topology->bindings, sizeof(coney_binding), refusal);
    close_channel(one);
    return status;
}

coney_status coney_admin_declare(coney_admin *admin)
{
    if (!admin || !admin->topology)
        return cny_fail(CONEY_E_INVALID, "declare: the admin is NULL or was made without a topology");
    coney_status status = cny_factory_check_process(admin->factory);
    if (status != CONEY_OK)
        return status;
    task one = {.admin = admin, .deadline = cny_deadline(admin->timeout_ms)};
    cny_error *refusal = NULL;
    status = declare_topology(&one, &refusal);
    if (status == CONEY_OK)
        status = cny_error_raise(refusal);
    cny_error_unref(refusal);
    return status;
}

static coney_status declare_on(void *self, cny_connection *connection, coney_connection_role role, int64_t deadline)
{
    const coney_admin *admin = self;
    int64_t own_deadline = cny_deadline(admin->timeout_ms);
    task one = {.admin = admin,
                .connection = connection,
                .role = role,
                .deadline = deadline < own_deadline ? deadline : own_deadline};
    cny_error *refusal = NULL;
    coney_status status = declare_topology(&one, &refusal);
    cny_error_unref(refusal);
    return status == CONEY_OK ? status : cny_fail_in("declare the topology");
}
