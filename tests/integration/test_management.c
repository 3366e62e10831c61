/* SPDX-License-Identifier: MIT */
/* Reading what a broker has over its management API, and what is said when that fails. */
#include "support/container_fixture.h"
#include "support/test_support.h"
#include "topology/inventory.h"

#include <coney/management/management.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *url(void)
{
    const char *found = getenv("CONEY_TEST_MANAGEMENT_URL");
    if (!found)
        test_leave_out("the broker has no management API (CONEY_TEST_MANAGEMENT_URL)");
    return found;
}

static void expect_failure(const coney_management_options *options, coney_status status, const char *words)
{
    coney_inventory *inventory;
    assert_fails(coney_management_read(&inventory, options), status, words);
    assert_null(inventory);
}

static bool has_consumer(const coney_inventory *inventory, const char *queue)
{
    size_t count;
    const coney_found_consumer *consumers = cny_inventory_consumers(inventory, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(consumers[i].queue, queue) == 0)
            return consumers[i].tag && consumers[i].connection;
    }
    return false;
}

static coney_outcome acknowledge(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    return CONEY_ACK;
}

static void test_what_was_declared_is_read(void **state)
{
    (void)state;
    const char *address = url();
    const char *queue = test_name("read"), *exchange = test_name("source");
    const coney_binding binding = {.exchange = exchange, .destination = queue, .routing_key = "key"};
    const coney_binding chained = {.exchange = "amq.topic", .destination = exchange, .to_exchange = true};
    coney_inventory *inventory;
    coney_container *container;
    char command[512];
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .kind = CONEY_CLASSIC}, NULL));
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = exchange}));
    assert_ok(coney_admin_declare_binding(client.admin, &binding));
    assert_ok(coney_admin_declare_binding(client.admin, &chained));
    snprintf(command, sizeof command, "set_policy short '^%s$' '{\"max-length\":9}' --apply-to queues", queue);
    test_rabbitmqctl(command);
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &(coney_listener){.queue = queue, .on_message = acknowledge}));
    assert_ok(coney_container_start(container));
    for (int waited = 0;;) { /* the API tells of new policies and consumers a moment later */
        assert_ok(coney_management_read(&inventory, &(coney_management_options){.url = address}));
        const coney_found_queue *found = cny_inventory_find_queue(inventory, queue);
        if (found && found->policy.name && has_consumer(inventory, queue))
            break;
        coney_inventory_free(inventory);
        test_wait_a_little(&waited, "policy and consumer", __FILE__, __LINE__);
    }
    const coney_found_queue *found = cny_inventory_find_queue(inventory, queue);
    assert_string_equal(found->type, "classic");
    assert_string_equal(found->policy.name, "short");
    assert_int_equal(coney_table_get_int64(found->policy.settings, "max-length", 0), 9);
    assert_string_equal(cny_inventory_find_exchange(inventory, exchange)->type, "direct");
    assert_true(cny_inventory_has_binding(inventory, &binding));
    assert_true(cny_inventory_has_binding(inventory, &chained));
    coney_inventory_free(inventory);
    coney_container_free(container);
    test_rabbitmqctl("clear_policy short");
    test_delete_queue(queue);
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
}

static void test_failures_say_what_is_wrong(void **state)
{
    (void)state;
    const char *address = url();
    char other[64];
    expect_failure(&(coney_management_options){.url = address, .user = "guest", .password = "wrong"},
                   CONEY_E_ACCESS_REFUSED, "401");
    expect_failure(&(coney_management_options){.url = address, .virtual_host = "no such host"}, CONEY_E_NOT_FOUND,
                   "there is no virtual host 'no such host'");
    expect_failure(&(coney_management_options){.url = "http://127.0.0.1:9"}, CONEY_E_CONNECT, "rabbitmq_management");
    expect_failure(&(coney_management_options){.url = address, .max_answer_bytes = 10}, CONEY_E_LIMIT,
                   "max_answer_bytes, 10");
    snprintf(other, sizeof other, "http://127.0.0.1:%d", test_uri_port());
    expect_failure(&(coney_management_options){.url = other, .timeout_ms = 15000}, CONEY_E_PROTOCOL,
                   "no management API");
    snprintf(other, sizeof other, "https%s", address + strlen("http"));
    expect_failure(&(coney_management_options){.url = other}, CONEY_E_CONNECT, "GET https://");
}

static void test_wrong_options_are_refused(void **state)
{
    (void)state;
    expect_failure(NULL, CONEY_E_INVALID, "NULL");
    assert_fails(coney_management_read(NULL, &(coney_management_options){.url = "http://h"}), CONEY_E_INVALID, "NULL");
    expect_failure(&(coney_management_options){0}, CONEY_E_INVALID, "url must begin with http://");
    expect_failure(&(coney_management_options){.url = "amqp://h"}, CONEY_E_INVALID, "url must begin with http://");
    expect_failure(&(coney_management_options){.url = "http://u:p@h"}, CONEY_E_INVALID, "by their own options");
    expect_failure(&(coney_management_options){.url = "http://h/api"}, CONEY_E_INVALID, "host and port only");
    expect_failure(&(coney_management_options){.url = "http://h", .timeout_ms = -1}, CONEY_E_INVALID, "timeout_ms");
    expect_failure(&(coney_management_options){.url = "http://h", .user = "u"}, CONEY_E_INVALID, "password is NULL");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_declared_is_read),
        cmocka_unit_test(test_failures_say_what_is_wrong),
        cmocka_unit_test(test_wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
