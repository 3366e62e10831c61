/* SPDX-License-Identifier: MIT */
/* A large topology over a long way: many queues with a binding each, declared in bulk, and consumed soon. How many, the
 * environment may say (CONEY_TEST_DECLARATIONS); it then takes as long as that broker does. */
#include "support/proxy.h"
#include "support/test_support.h"

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

enum { USUAL_COUNT = 1000, ROUND_TRIP_MS = 50, EACH_MS = 4, CONNECT_MS = 5000 };

static cny_proxy *proxy;
static coney_connection_factory *factory;
static coney_admin *admin;
static coney_container *container;
static char vhost[64];
static int count;

static void run_ctl(const char *command)
{
    char line[512];
    snprintf(line, sizeof line, "%s -q %s %s", getenv("CONEY_TEST_RABBITMQCTL"), command, vhost);
    assert_int_equal(system(line), 0); /* NOLINT(cert-env33-c) */
}

static int set_up(void **state)
{
    (void)state;
    const char *wanted = getenv("CONEY_TEST_DECLARATIONS");
    count = wanted ? atoi(wanted) : USUAL_COUNT;
    snprintf(vhost, sizeof vhost, "%s", test_name("many"));
    if (!getenv("CONEY_TEST_RABBITMQCTL"))
        return 0;
    run_ctl("add_vhost");
    char command[256];
    snprintf(command, sizeof command, "%s -q set_permissions -p %s guest '.*' '.*' '.*'",
             getenv("CONEY_TEST_RABBITMQCTL"), vhost);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    proxy = cny_proxy_start(test_uri_port());
    cny_proxy_delay(proxy, CNY_BOTH_WAYS, ROUND_TRIP_MS / 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    coney_container_free(container);
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    cny_proxy_stop(proxy);
    if (getenv("CONEY_TEST_RABBITMQCTL"))
        run_ctl("delete_vhost");
    return 0;
}

static coney_topology *make_topology(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "many"});
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "many.%d", i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name, .kind = CONEY_CLASSIC});
        coney_topology_bind(topology, "many", name, name);
    }
    return topology;
}

static coney_outcome acknowledge(coney_delivery *delivery, void *user)
{
    (void)delivery;
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static void test_many_queues_over_a_long_way_are_declared_and_consumed_soon(void **state)
{
    (void)state;
    if (!getenv("CONEY_TEST_RABBITMQCTL"))
        test_leave_out(BROKER_IS_NOT_OURS);
    char uri[256], last[32];
    atomic_int handled = 0;
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d/%s", cny_proxy_port(proxy), vhost);
    snprintf(last, sizeof last, "many.%d", count - 1);
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
    coney_topology *topology = make_topology();
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
    const int patience_ms = CONNECT_MS + count * EACH_MS;
    assert_ok(coney_container_new(&container, factory, &(coney_container_options){.start_timeout_ms = patience_ms}));
    assert_ok(coney_container_listen(container,
                                     &(coney_listener){.queue = last, .on_message = acknowledge, .user = &handled}));
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(container));
    print_message("%d queues with a binding each: consuming after %.1f s\n", count,
                  (double)(cny_now_ms() - began) / 1000);
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(factory, CONEY_CONSUMING, &info));
    assert_int_equal(info.times_opened, 1);
    assert_int_equal(info.reason, CONEY_OK); /* no attempt was lost */
    coney_health health;
    assert_ok(coney_container_health(container, &health));
    assert_true(health.ready);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_many_queues_over_a_long_way_are_declared_and_consumed_soon, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests_name("many_declarations", tests, NULL, NULL);
}
