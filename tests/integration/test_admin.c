/* SPDX-License-Identifier: MIT */
/* Declaring on a real broker, and what it refuses. */
#include "support/test_support.h"

static void test_topology_is_declared_in_order_and_again(void **state)
{
    (void)state;
    const char *exchange = test_name("topology"), *other = test_name("topology.other"), *queue = test_name("bound");
    coney_topology *topology = coney_topology_new();
    coney_topology_bind(topology, exchange, queue, "a.#"); /* bindings first: the order is the admin's */
    coney_topology_add_binding(topology,
                               &(coney_binding){.exchange = other, .destination = exchange, .to_exchange = true});
    coney_topology_add_queue(topology, &(coney_queue){.name = queue, .max_length = 100, .dead_letter_exchange = ""});
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC});
    coney_topology_add_exchange(topology, &(coney_exchange){.name = other, .type = CONEY_FANOUT, .transient = true});
    coney_admin *admin;
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology); /* copied */
    assert_ok(coney_admin_declare(admin));
    assert_ok(coney_admin_declare(admin));

    coney_message *message = test_text("through two exchanges");
    assert_ok(coney_template_send(client.sender, "a.b", message, &(coney_send_options){.exchange = other}));
    test_wait_for_depth(queue, 1);
    coney_message_unref(message);
    uint32_t deleted = 0;
    assert_ok(coney_admin_delete_queue(admin, queue, &deleted));
    assert_int_equal(deleted, 1);
    assert_ok(coney_admin_delete_exchange(admin, exchange));
    assert_ok(coney_admin_delete_exchange(admin, other));
    coney_admin_free(admin);
}

static void test_redeclare_with_other_arguments_names_the_queue_and_the_rest_goes_on(void **state)
{
    (void)state;
    const char *taken = test_name("taken"), *later = test_name("later");
    test_make_queue(taken);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = taken, .max_length = 5});
    coney_topology_add_queue(topology, &(coney_queue){.name = later});
    coney_topology_bind(topology, "amq.topic", later, "x");
    coney_topology_bind(topology, "no-such-exchange", later, "x");
    coney_admin *admin;
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    test_log_start(CONEY_LOG_WARN);
    assert_fails(coney_admin_declare(admin), CONEY_E_PRECONDITION_FAILED, "inequivalent arg 'x-max-length'");
    assert_non_null(strstr(coney_last_error(), taken));
    assert_int_equal(coney_last_error_details()->broker_code, 406);
    test_log_expect("406 PRECONDITION_FAILED");
    test_log_expect("exchange 'no-such-exchange'");
    test_log_stop();
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, later, &info));
    coney_message *message = test_text("bound nevertheless");
    assert_ok(coney_template_send(client.sender, "x", message, &(coney_send_options){.exchange = "amq.topic"}));
    coney_message_unref(message);
    test_delete_queue(taken);
    test_delete_queue(later);
    coney_topology_free(topology);
    coney_admin_free(admin);
}

static void test_reserved_names_are_refused_with_403(void **state)
{
    (void)state;
    assert_fails(coney_admin_declare_queue(client.admin, &(coney_queue){.name = "amq.mine"}, NULL),
                 CONEY_E_ACCESS_REFUSED, "declare queue 'amq.mine': 403 ACCESS_REFUSED");
    assert_fails(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = "amq.mine"}),
                 CONEY_E_ACCESS_REFUSED, "declare exchange 'amq.mine': 403");
}

static void test_nothing_is_sent_about_the_default_exchange(void **state)
{
    (void)state;
    bool exists;
    const coney_binding implicit = {.exchange = "", .destination = "q", .routing_key = "q"};
    const coney_binding other = {.exchange = "", .destination = "q", .routing_key = "k"};
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = ""}));
    assert_ok(coney_admin_delete_exchange(client.admin, ""));
    assert_ok(coney_admin_exchange_exists(client.admin, "", &exists));
    assert_true(exists);
    assert_ok(coney_admin_declare_binding(client.admin, &implicit));
    assert_ok(coney_admin_remove_binding(client.admin, &implicit));
    assert_fails(coney_admin_declare_binding(client.admin, &other), CONEY_E_INVALID,
                 "nothing can be bound to the default exchange");
}

static void test_exclusive_queue_of_another_connection_is_405(void **state)
{
    (void)state;
    const char *name = test_name("exclusive");
    coney_connection_factory *other;
    coney_admin *stranger;
    coney_queue_info info;
    assert_ok(coney_admin_declare_queue(client.admin,
                                        &(coney_queue){.name = name, .exclusive = true, .transient = true}, NULL));
    assert_ok(coney_connection_factory_new(&other, test_uri(), NULL));
    assert_ok(coney_admin_new(&stranger, other, NULL));
    assert_fails(coney_admin_queue_info(stranger, name, &info), CONEY_E_RESOURCE_LOCKED, "405 RESOURCE_LOCKED");
    assert_ok(coney_admin_queue_info(client.admin, name, &info));
    coney_admin_free(stranger);
    coney_connection_factory_free(other);
    test_delete_queue(name);
}

static void test_unknown_exchange_type_is_refused_and_the_admin_goes_on(void **state)
{
    (void)state;
    const coney_exchange exchange = {.name = test_name("odd"), .custom_type = "x-no-such-type"};
    coney_status status = coney_admin_declare_exchange(client.admin, &exchange);
    /* Since 2024 RabbitMQ closes only the channel, with 406; it used to close the connection, with 503. */
    assert_fails(status, status == CONEY_E_BROKER ? status : CONEY_E_PRECONDITION_FAILED, "x-no-such-type");
    const char *name = test_name("after");
    test_make_queue(name);
    test_delete_queue(name);
}

static void test_broker_makes_up_a_name(void **state)
{
    (void)state;
    coney_queue_info info;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = "", .exclusive = true, .transient = true},
                                        &info));
    assert_int_equal(strncmp(info.name, "amq.gen", 7), 0);
    test_delete_queue(info.name);
}

static void test_queue_info_counts_and_purge_empties(void **state)
{
    (void)state;
    const char *name = test_name("info");
    test_make_queue(name);
    coney_message *message = test_text("one");
    assert_ok(coney_template_send(client.sender, name, message, NULL));
    assert_ok(coney_template_send(client.sender, name, message, NULL));
    test_wait_for_depth(name, 2);
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, name, &info));
    assert_string_equal(info.name, name);
    assert_int_equal(info.consumer_count, 0);
    uint32_t purged = 0;
    assert_ok(coney_admin_purge_queue(client.admin, name, &purged));
    assert_int_equal(purged, 2);
    coney_message_unref(message);
    test_delete_queue(name);
    assert_fails(coney_admin_queue_info(client.admin, name, &info), CONEY_E_NOT_FOUND, name);
    assert_ok(coney_admin_delete_queue(client.admin, name, NULL)); /* gone is gone */
    assert_fails(coney_admin_purge_queue(client.admin, name, NULL), CONEY_E_NOT_FOUND, "purge queue");
}

static void test_binding_can_be_removed(void **state)
{
    (void)state;
    const char *name = test_name("unbind");
    test_make_queue(name);
    const coney_binding binding = {.exchange = "amq.direct", .destination = name, .routing_key = name};
    coney_message *message = test_text("routed");
    const coney_send_options direct = {.exchange = "amq.direct"};
    assert_ok(coney_admin_declare_binding(client.admin, &binding));
    assert_ok(coney_template_send(client.sender, name, message, &direct));
    assert_ok(coney_admin_remove_binding(client.admin, &binding));
    assert_int_equal(coney_template_send(client.sender, name, message, &direct), CONEY_E_RETURNED);
    coney_message_unref(message);
    test_delete_queue(name);
}

static void test_bad_arguments_never_reach_the_broker(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    coney_queue_info info;
    assert_fails(coney_admin_declare_queue(client.admin, &(coney_queue){.name = name}, NULL), CONEY_E_INVALID,
                 "queue name");
    assert_fails(coney_admin_queue_info(client.admin, NULL, &info), CONEY_E_INVALID, "queue name is NULL");
    assert_fails(coney_admin_delete_queue(client.admin, name, NULL), CONEY_E_INVALID, "256 bytes");
    assert_fails(coney_admin_declare_queue(NULL, &(coney_queue){.name = "q"}, NULL), CONEY_E_INVALID, "admin");
    assert_fails(coney_admin_declare(client.admin), CONEY_E_INVALID, "the admin has no topology");
    name[255] = '\0';
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = name}, &info));
    assert_string_equal(info.name, name);
    test_delete_queue(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topology_is_declared_in_order_and_again),
        cmocka_unit_test(test_redeclare_with_other_arguments_names_the_queue_and_the_rest_goes_on),
        cmocka_unit_test(test_reserved_names_are_refused_with_403),
        cmocka_unit_test(test_nothing_is_sent_about_the_default_exchange),
        cmocka_unit_test(test_exclusive_queue_of_another_connection_is_405),
        cmocka_unit_test(test_unknown_exchange_type_is_refused_and_the_admin_goes_on),
        cmocka_unit_test(test_broker_makes_up_a_name),
        cmocka_unit_test(test_queue_info_counts_and_purge_empties),
        cmocka_unit_test(test_binding_can_be_removed),
        cmocka_unit_test(test_bad_arguments_never_reach_the_broker),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
