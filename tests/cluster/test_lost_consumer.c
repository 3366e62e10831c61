/* SPDX-License-Identifier: MIT */
/* The node of a consumer is lost: others get what it had after consumer_disconnected_timeout_ms, and not after the
 * 60 s that RabbitMQ 4.3 waits without it. */
#include "support/cluster.h"
#include "support/test_support.h"

#include "base/base.h"

#include <stdio.h>

enum { NODES = 3, LEADER = 0, LOST = 2, TIMEOUT_MS = 2000 };

_Static_assert(TEST_PATIENCE_MS < 60000, "a message that waits for as long as without the field comes too late");

static const char queue_name[] = "coney.test.lost";

static cny_cluster *cluster;
static coney_connection_factory *factories[NODES];
static coney_container *containers[NODES];
static coney_admin *admin;
static coney_delivery *held;
static atomic_int calls;

static int start_cluster(void **state)
{
    (void)state;
    cluster = cny_cluster_start(NODES);
    return 0;
}

static int stop_cluster(void **state)
{
    (void)state;
    coney_delivery_unref(held);
    coney_admin_free(admin);
    for (int node = 0; node < NODES; node++) {
        coney_container_free(containers[node]);
        coney_connection_factory_free(factories[node]);
    }
    cny_cluster_stop(cluster);
    return 0;
}

static void connect_to(int node)
{
    char uri[64];
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d", cny_cluster_port(cluster, node));
    assert_ok(coney_connection_factory_new(&factories[node], uri, NULL));
}

static coney_outcome hold(coney_delivery *delivery, void *user)
{
    (void)user;
    held = coney_delivery_ref(delivery);
    atomic_fetch_add(&calls, 1);
    return CONEY_DEFER;
}

static coney_outcome take(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&calls, 1);
    return CONEY_ACK;
}

static void listen_at(int node, const coney_listener *listener)
{
    coney_listener made = *listener;
    made.queue = queue_name;
    assert_ok(coney_container_new(&containers[node], factories[node], NULL));
    assert_ok(coney_container_listen(containers[node], &made));
    assert_ok(coney_container_start(containers[node]));
}

static void send_one(void)
{
    coney_template *sender;
    coney_message *message = test_text("held");
    assert_ok(coney_template_new(&sender, factories[LEADER], NULL));
    assert_ok(coney_template_send(sender, queue_name, message, NULL));
    coney_message_unref(message);
    coney_template_free(sender);
}

static void test_messages_of_a_lost_node_go_to_others_after_the_timeout_of_the_queue(void **state)
{
    (void)state;
    const coney_queue queue = {
        .name = queue_name, .kind = CONEY_QUORUM, .consumer_disconnected_timeout_ms = TIMEOUT_MS};
    connect_to(LEADER);
    connect_to(LOST);
    assert_ok(coney_admin_new(&admin, factories[LEADER], NULL));
    coney_status status = coney_admin_declare_queue(admin, &queue, NULL);
    if (status == CONEY_E_INVALID)
        test_leave_out(OLDER_THAN_4_3);
    assert_int_equal(status, CONEY_OK);
    listen_at(LOST, &(coney_listener){.on_message = hold, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    send_one();
    test_wait_for(&calls, 1);
    cny_cluster_signal(cluster, LOST, "KILL");
    int64_t began = cny_now_ms();
    listen_at(LEADER, &(coney_listener){.on_message = take});
    test_wait_for(&calls, 2);
    print_message("the message came after %d ms\n", (int)(cny_now_ms() - began));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_of_a_lost_node_go_to_others_after_the_timeout_of_the_queue),
    };
    return cmocka_run_group_tests_name("lost consumer", tests, start_cluster, stop_cluster);
}
