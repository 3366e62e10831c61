/* SPDX-License-Identifier: MIT */
/* A cluster of three nodes of which two are dead. The node that is left serves what it has, but where the metadata is
 * in Khepri (RabbitMQ 4.3), that node makes nothing new and not even a binding that exists: after 30 s it closes the
 * connection over the request, and after 65 s over a consumer of a quorum queue. Other listeners must not suffer. */
#include "support/cluster.h"
#include "support/test_support.h"

#include "base/base.h"

#include <poll.h>
#include <stdio.h>

enum { NODES = 3, BINDINGS = 200, UNDISTURBED_MS = 60000, WATCHED_MS = 100000, RETURNED_MS = 120000 };

static cny_cluster *cluster;
static coney_connection_factory *factory;
static coney_admin *admin;
static coney_template *sender;
static coney_container *container;
static atomic_int handled;

static coney_topology *make_bound(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "events", .type = CONEY_TOPIC});
    coney_topology_add_queue(topology, &(coney_queue){.name = "bound", .kind = CONEY_CLASSIC});
    for (int i = 0; i < BINDINGS; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i);
        coney_topology_bind(topology, "events", "bound", key);
    }
    return topology;
}

static void connect_to_the_first(void)
{
    char uri[128];
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d", cny_cluster_port(cluster, 0));
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
}

static void disconnect(void)
{
    coney_container_free(container);
    coney_template_free(sender);
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    container = NULL;
    sender = NULL;
    admin = NULL;
    factory = NULL;
}

static void use_topology(coney_topology *topology)
{
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
}

static int start_cluster(void **state)
{
    (void)state;
    cluster = cny_cluster_start(NODES);
    connect_to_the_first();
    use_topology(make_bound());
    assert_ok(coney_admin_declare(admin));
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = "other", .kind = CONEY_CLASSIC}, NULL));
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = "replicated", .kind = CONEY_QUORUM}, NULL));
    disconnect();
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    cny_cluster_stop(cluster);
    return 0;
}

static int lose_majority(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 1, "KILL");
    cny_cluster_signal(cluster, 2, "KILL");
    atomic_store(&handled, 0);
    connect_to_the_first();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    disconnect();
    cny_cluster_ensure(cluster, 1);
    cny_cluster_ensure(cluster, 2);
    return 0;
}

static coney_outcome count(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static coney_status send_to(const char *queue, int timeout_ms)
{
    coney_message *message = test_text("hello");
    coney_status status = coney_template_send(sender, queue, message, &(coney_send_options){.timeout_ms = timeout_ms});
    coney_message_unref(message);
    return status;
}

static void listen_to(const char *queue)
{
    assert_ok(coney_container_listen(container, &(coney_listener){.queue = queue, .on_message = count}));
}

static void use_container(void)
{
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_container_new(&container, factory, &(coney_container_options){.start_timeout_ms = RETURNED_MS}));
}

static coney_connection_info info_of(coney_connection_role role)
{
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(factory, role, &info));
    return info;
}

/* Sends on and on; how often the consuming connection was opened, and the longest time without a message. */
static int watch(const char *queue)
{
    int64_t end = cny_now_ms() + WATCHED_MS, last = cny_now_ms();
    int longest_ms = 0;
    while (cny_now_ms() < end) {
        int before = atomic_load(&handled);
        send_to(queue, 1000);
        poll(NULL, 0, 100);
        if (atomic_load(&handled) == before)
            continue;
        if ((int)(cny_now_ms() - last) > longest_ms)
            longest_ms = (int)(cny_now_ms() - last);
        last = cny_now_ms();
    }
    int opened = (int)info_of(CONEY_CONSUMING).times_opened;
    print_message(
        "the consuming connection was opened %d times, the publishing one %d times; the longest gap was %d ms\n",
        opened, (int)info_of(CONEY_PUBLISHING).times_opened, longest_ms);
    return opened;
}

static void expect_consuming_soon(int64_t began)
{
    assert_ok(send_to("other", UNDISTURBED_MS));
    test_wait_for(&handled, 1);
    int elapsed_ms = (int)(cny_now_ms() - began);
    print_message("consuming after %d ms\n", elapsed_ms);
    assert_int_in_range(elapsed_ms, 0, UNDISTURBED_MS);
}

static atomic_int bound;

static void count_declared(const coney_declaration *declaration, void *user)
{
    (void)user;
    atomic_fetch_add(&bound, declaration->state == CONEY_DECLARATION_DECLARED);
}

static int declared(void)
{
    atomic_store(&bound, 0);
    assert_ok(coney_connection_factory_list_declarations(factory, count_declared, NULL));
    return atomic_load(&bound);
}

static void return_majority(void)
{
    int64_t began = cny_now_ms();
    cny_cluster_restart(cluster, 1);
    int64_t restarted = cny_now_ms();
    while (declared() < BINDINGS + 2 && cny_now_ms() < restarted + RETURNED_MS)
        poll(NULL, 0, 100);
    print_message("all declared %d ms after the majority had returned, which took %d ms\n",
                  (int)(cny_now_ms() - restarted), (int)(restarted - began));
    assert_int_equal(declared(), BINDINGS + 2);
}

static void test_bindings_that_cannot_be_made_disturb_no_other_listener_and_are_made_in_the_end(void **state)
{
    (void)state;
    use_topology(make_bound());
    use_container();
    listen_to("other");
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(container));
    expect_consuming_soon(began);
    assert_int_in_range(watch("other"), 1, 2);
    return_majority();
}

static void test_queues_that_cannot_be_made_disturb_no_other_listener(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "new.%d", i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name, .exclusive = i % 2 == 0});
    }
    use_topology(topology);
    use_container();
    listen_to("other");
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(container));
    expect_consuming_soon(began);
    assert_int_in_range(watch("other"), 1, 2);
}

static void test_quorum_queue_that_cannot_be_consumed_interrupts_other_listeners_once(void **state)
{
    (void)state;
    use_container();
    listen_to("other");
    listen_to("replicated");
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(container));
    expect_consuming_soon(began);
    watch("other");
    assert_int_in_range(watch("other"), 1, 2);
    cny_cluster_restart(cluster, 1);
    cny_cluster_restart(cluster, 2);
    int before = atomic_load(&handled);
    int64_t returned = cny_now_ms();
    assert_ok(send_to("replicated", RETURNED_MS));
    test_wait_for(&handled, before + 1);
    print_message("consuming the quorum queue %d ms after the majority had returned\n", (int)(cny_now_ms() - returned));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_bindings_that_cannot_be_made_disturb_no_other_listener_and_are_made_in_the_end, lose_majority,
            tear_down),
        cmocka_unit_test_setup_teardown(test_queues_that_cannot_be_made_disturb_no_other_listener, lose_majority,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_quorum_queue_that_cannot_be_consumed_interrupts_other_listeners_once,
                                        lose_majority, tear_down),
    };
    return cmocka_run_group_tests_name("minority", tests, start_cluster, stop_cluster);
}
