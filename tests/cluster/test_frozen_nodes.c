/* SPDX-License-Identifier: MIT */
/* A cluster of three nodes of which two are frozen: a quorum queue cannot be formed, and the broker answers late, or by
 * closing the connection. What is there already is consumed and published to meanwhile. */
#include "support/cluster.h"
#include "support/test_support.h"

#include "base/base.h"

#include <signal.h>
#include <stdio.h>

enum { NODES = 3, SHORT_MS = 2000, UNDISTURBED_MS = 30000, THAWED_MS = 120000 };

static cny_cluster *cluster;
static coney_connection_factory *factory;
static coney_admin *admin;
static coney_template *sender;
static coney_container *container;
static atomic_int handled;

static int start_cluster(void **state)
{
    (void)state;
    cluster = cny_cluster_start(NODES);
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    coney_container_free(container);
    coney_template_free(sender);
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    cny_cluster_stop(cluster);
    return 0;
}

static void signal_others(const char *signal)
{
    cny_cluster_signal(cluster, 1, signal);
    cny_cluster_signal(cluster, 2, signal);
}

static coney_outcome count(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static coney_status send_to(const char *exchange, const char *key, int timeout_ms)
{
    coney_message *message = test_text("hello");
    coney_status status = coney_template_send(sender, key, message,
                                              &(coney_send_options){.exchange = exchange, .timeout_ms = timeout_ms});
    coney_message_unref(message);
    return status;
}

static void declare_before(const char *uri)
{
    coney_connection_factory *earlier;
    coney_admin *one;
    assert_ok(coney_connection_factory_new(&earlier, uri, NULL));
    assert_ok(coney_admin_new(&one, earlier, &(coney_admin_options){.timeout_ms = THAWED_MS}));
    assert_ok(coney_admin_declare_queue(one, &(coney_queue){.name = "there"}, NULL));
    coney_admin_free(one);
    coney_connection_factory_free(earlier);
}

static void use_topology(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = "pending", .kind = CONEY_QUORUM});
    coney_topology_bind(topology, "amq.direct", "pending", "pending");
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
}

/* RabbitMQ 4.3 gives up a declaration after 30 s, but may keep what it has noted of the queue: with nodes that were
 * frozen for so long, the queue then is there, has no member, and refuses messages until somebody deletes it. */
static void replace_queue_without_members(void)
{
    print_message("the nodes were frozen for too long: the queue has no members, and is declared anew\n");
    assert_ok(coney_admin_delete_queue(admin, "pending", NULL));
    assert_ok(coney_admin_declare(admin));
}

static void test_queue_that_cannot_be_formed_holds_up_nobody_else_and_comes_in_the_end(void **state)
{
    (void)state;
    char uri[128];
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d", cny_cluster_port(cluster, 0));
    declare_before(uri);
    signal_others("STOP");
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
    use_topology();
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_container_new(&container, factory, &(coney_container_options){.start_timeout_ms = THAWED_MS}));
    assert_ok(coney_container_listen(container, &(coney_listener){.queue = "there", .on_message = count}));
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(container));
    assert_ok(send_to("", "there", THAWED_MS));
    test_wait_for(&handled, 1);
    int elapsed_ms = (int)(cny_now_ms() - began);
    print_message("consuming and published to after %d ms\n", elapsed_ms);
    assert_int_in_range(elapsed_ms, 0, UNDISTURBED_MS);
    coney_status status = send_to("amq.direct", "pending", SHORT_MS);
    print_message("a message for what is not declared: %s, %s\n", coney_status_name(status), coney_last_error());
    assert_int_equal(status, CONEY_E_CONNECT);
    signal_others("CONT");
    status = send_to("amq.direct", "pending", THAWED_MS);
    if (status == CONEY_E_NACKED) {
        replace_queue_without_members();
        status = send_to("amq.direct", "pending", THAWED_MS);
    }
    assert_ok(status);
    for (int role = CONEY_CONSUMING; role <= CONEY_PUBLISHING; role++) {
        coney_connection_info info;
        assert_ok(coney_connection_factory_info(factory, (coney_connection_role)role, &info));
        print_message("%s connection opened %d times\n", role == CONEY_CONSUMING ? "consuming" : "publishing",
                      (int)info.times_opened);
        assert_true(info.times_opened <= 3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_that_cannot_be_formed_holds_up_nobody_else_and_comes_in_the_end),
    };
    return cmocka_run_group_tests_name("frozen_nodes", tests, start_cluster, stop_cluster);
}
