/* SPDX-License-Identifier: MIT */
/* The arguments of a queue change while senders and listeners run: nothing is lost, and what comes twice is within the
 * count of the report. */
#include "support/container_fixture.h"
#include "support/test_support.h"

#include <coney/management/management.h>
#include <coney/rabbit/plan.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 10000, MOST = 60000 };

static coney_admin *admin;
static coney_inventory *inventory;
static coney_plan *plan;
static char exchange[256], queue[256], new_queue[256];
static atomic_int received[MOST];
static atomic_int sent;
static atomic_bool is_over;

static int set_up(void **state)
{
    (void)state;
    snprintf(exchange, sizeof exchange, "%s", test_name("change.exchange"));
    snprintf(queue, sizeof queue, "%s", test_name("change.old"));
    snprintf(new_queue, sizeof new_queue, "%s", test_name("change.new"));
    for (int i = 0; i < MOST; i++)
        atomic_store(&received[i], 0);
    atomic_store(&sent, 0);
    atomic_store(&is_over, false);
    return 0;
}

static int tear_down(void **state)
{
    coney_plan_free(plan);
    coney_inventory_free(inventory);
    coney_admin_free(admin);
    plan = NULL;
    inventory = NULL;
    admin = NULL;
    coney_admin_delete_queue(client.admin, queue, NULL);
    coney_admin_delete_queue(client.admin, new_queue, NULL);
    coney_admin_delete_exchange(client.admin, exchange);
    return test_no_failed_checks(state);
}

#define change_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void use_old_queue(coney_queue_kind kind)
{
    coney_topology *topology = coney_topology_new();
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC}));
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .kind = kind}, NULL));
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = exchange, .destination = queue, .routing_key = "by.hand"}));
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC});
    coney_topology_add_queue(topology, &(coney_queue){.name = queue, .kind = CONEY_QUORUM, .max_length = 1000000});
    coney_topology_bind(topology, exchange, queue, "key");
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = exchange, .destination = queue, .routing_key = "key"}));
    assert_ok(
        coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology, .no_auto_declare = true}));
    coney_topology_free(topology);
}

static void make_plan(void)
{
    const char *url = getenv("CONEY_TEST_MANAGEMENT_URL");
    if (!url)
        test_leave_out("the broker has no management API (CONEY_TEST_MANAGEMENT_URL)");
    coney_inventory_free(inventory);
    coney_plan_free(plan);
    assert_ok(coney_management_read(&inventory, &(coney_management_options){.url = url}));
    assert_ok(coney_admin_plan(&plan, admin, inventory));
}

static coney_status change(coney_apply_report *report)
{
    const coney_queue_change one = {.queue = queue, .new_name = new_queue};
    return coney_admin_apply(
        admin, plan, &(coney_apply_options){.changes = &one, .change_count = 1, .drain_timeout_ms = 60000}, report);
}

static void send_number(int number, const char *key)
{
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    coney_message *message = test_text(text);
    const coney_send_options options = {.exchange = exchange};
    assert_ok(coney_template_send_async(client.sender, key, message, &options, NULL, NULL));
    coney_message_unref(message);
}

static void send_many(int count)
{
    for (int i = 0; i < count; i++)
        send_number(atomic_fetch_add(&sent, 1), i % 2 ? "key" : "by.hand");
    assert_ok(coney_template_wait_for_confirms(client.sender, 60000));
}

static void *keep_sending(void *unused)
{
    while (!atomic_load(&is_over) && atomic_load(&sent) < MOST - 10)
        send_many(10);
    return unused;
}

static coney_outcome receive(coney_delivery *delivery, void *user)
{
    (void)user;
    const coney_message *message = coney_delivery_message(delivery);
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)coney_message_size(message), (const char *)coney_message_body(message));
    atomic_fetch_add(&received[atoi(text)], 1);
    return CONEY_ACK;
}

static coney_container *listen_to(const char *name)
{
    coney_container *container;
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(
        coney_container_listen(container, &(coney_listener){.queue = name, .id = "reader", .on_message = receive}));
    assert_ok(coney_container_start(container));
    return container;
}

/* All were received; returns how many came more than once. */
static int count_twice(void)
{
    int lost = 0, twice = 0;
    for (int i = 0; i < atomic_load(&sent); i++) {
        lost += atomic_load(&received[i]) == 0;
        twice += atomic_load(&received[i]) > 1;
    }
    assert_int_equal(lost, 0);
    return twice;
}

static void read_all(void)
{
    coney_container *container = listen_to(new_queue);
    test_wait_for_depth(new_queue, 0);
    assert_ok(coney_container_stop(container));
    coney_container_free(container);
}

static bool queue_exists(const char *name)
{
    bool exists;
    assert_ok(coney_admin_queue_exists(client.admin, name, &exists));
    return exists;
}

/* ---- tests ---- */

static void change_under_load(coney_queue_kind kind)
{
    pthread_t sender;
    coney_apply_report report;
    use_old_queue(kind);
    send_many(MESSAGES);
    make_plan();
    pthread_create(&sender, NULL, keep_sending, NULL);
    coney_status status = change(&report);
    atomic_store(&is_over, true);
    pthread_join(sender, NULL);
    assert_ok(status);
    assert_false(queue_exists(queue));
    read_all();
    int twice = count_twice();
    print_message("%d sent, %llu moved, 0 lost, %d came twice, of at most %llu\n", atomic_load(&sent),
                  (unsigned long long)report.moved, twice, (unsigned long long)report.may_come_twice);
    assert_true(report.moved >= MESSAGES);
    assert_true((uint64_t)twice <= report.may_come_twice);
}

static void test_classic_queue_becomes_a_quorum_queue_under_load(void **state)
{
    (void)state;
    change_under_load(CONEY_CLASSIC);
}

static void test_quorum_queue_gets_another_argument_under_load(void **state)
{
    (void)state;
    change_under_load(CONEY_QUORUM);
}

static void test_listener_on_the_old_queue_must_be_moved_first(void **state)
{
    (void)state;
    coney_apply_report report;
    use_old_queue(CONEY_CLASSIC);
    coney_container *container = listen_to(queue);
    make_plan();
    bool is_named = false;
    for (size_t i = 0; i < coney_plan_size(plan); i++) {
        const coney_plan_entry *entry = coney_plan_at(plan, i);
        for (size_t k = 0; k < entry->user_count; k++)
            is_named = is_named || strstr(entry->users[k], "listener 'reader' of container 'container'");
    }
    assert_true(is_named);
    send_many(100);
    assert_fails(change(&report), CONEY_E_STATE, "still has 1 consumers");
    assert_true(queue_exists(queue));
    send_many(100);
    assert_ok(coney_container_stop(container));
    coney_container_free(container);
    assert_ok(change(&report));
    assert_false(queue_exists(queue));
    read_all();
    assert_int_equal(count_twice(), 0);
}

/* The connection is lost in the middle, so some copies are confirmed and not acknowledged. */
static void test_interrupted_change_goes_on(void **state)
{
    (void)state;
    coney_apply_report report = {0}, rest;
    use_old_queue(CONEY_CLASSIC);
    send_many(MESSAGES);
    make_plan();
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = new_queue, .max_length = 3}, NULL));
    assert_fails(change(&report), CONEY_E_PRECONDITION_FAILED, new_queue);
    assert_true(queue_exists(queue));
    assert_ok(coney_admin_delete_queue(client.admin, new_queue, NULL));
    const coney_queue_change one = {.queue = queue, .new_name = new_queue};
    coney_status status = coney_admin_apply(
        admin, plan, &(coney_apply_options){.changes = &one, .change_count = 1, .drain_timeout_ms = 1}, &report);
    assert_true(status == CONEY_E_TIMEOUT || status == CONEY_E_STATE || status == CONEY_OK);
    make_plan();
    assert_ok(change(&rest));
    read_all();
    int twice = count_twice();
    unsigned long long allowed = report.may_come_twice + rest.may_come_twice;
    print_message("%llu and %llu moved, %d came twice, of at most %llu\n", (unsigned long long)report.moved,
                  (unsigned long long)rest.moved, twice, allowed);
    assert_true((unsigned long long)twice <= allowed);
}

static void test_properties_are_moved_and_addresses_are_not_used_again(void **state)
{
    (void)state;
    coney_message *message, *got;
    coney_table *headers = coney_table_new();
    use_old_queue(CONEY_CLASSIC);
    make_plan();
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = "coney.change.cc"}, NULL));
    assert_ok(coney_admin_declare_binding(
        client.admin,
        &(coney_binding){.exchange = exchange, .destination = "coney.change.cc", .routing_key = "coney.change.cc"}));
    coney_array *copies = coney_array_new();
    const coney_value copy = coney_value_string("coney.change.cc"), list = {.type = CONEY_ARRAY, .as.array = copies};
    assert_ok(coney_array_append(copies, &copy));
    assert_ok(coney_table_set(headers, "CC", &list));
    assert_ok(coney_table_set_string(headers, "customer", "Ann"));
    const coney_properties properties = {.headers = headers, .message_id = "m1", .priority = 3, .type = "order"};
    assert_ok(coney_message_new(&message, "body", 4, &properties));
    assert_ok(coney_template_send(client.sender, "key", message, &(coney_send_options){.exchange = exchange}));
    coney_message_unref(message);
    test_wait_for_depth("coney.change.cc", 1);
    assert_ok(change(NULL));
    test_wait_for_depth(new_queue, 1);
    test_wait_for_depth("coney.change.cc", 1);
    assert_ok(coney_template_receive(client.sender, new_queue, &got, 1000));
    assert_non_null(got);
    assert_string_equal(coney_message_properties(got)->message_id, "m1");
    assert_string_equal(coney_message_properties(got)->type, "order");
    assert_int_equal(coney_message_properties(got)->priority, 3);
    assert_string_equal(coney_table_get_string(coney_message_properties(got)->headers, "customer"), "Ann");
    coney_message_unref(got);
    coney_table_free(headers);
    coney_array_free(copies);
    assert_ok(coney_admin_delete_queue(client.admin, "coney.change.cc", NULL));
}

/* Nobody in this program declares the exchange, so only the inventory knows of the binding. */
static void test_binding_to_a_foreign_exchange_goes_with_the_queue(void **state)
{
    (void)state;
    const char *foreign = test_name("change.foreign");
    use_old_queue(CONEY_CLASSIC);
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = foreign}));
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = foreign, .destination = queue, .routing_key = "key"}));
    make_plan();
    assert_ok(change(NULL));
    coney_message *message = test_text("0");
    assert_ok(coney_template_send(client.sender, "key", message, &(coney_send_options){.exchange = foreign}));
    coney_message_unref(message);
    test_wait_for_depth(new_queue, 1);
    assert_ok(coney_admin_delete_exchange(client.admin, foreign));
}

static void test_wrong_changes_are_refused(void **state)
{
    (void)state;
    use_old_queue(CONEY_CLASSIC);
    make_plan();
    coney_queue_change one = {.queue = queue, .new_name = queue};
    const coney_apply_options options = {.changes = &one, .change_count = 1};
    assert_fails(coney_admin_apply(admin, plan, &options, NULL), CONEY_E_INVALID, "AMQP renames nothing");
    one = (coney_queue_change){.queue = "nobody.has.it", .new_name = "new"};
    assert_fails(coney_admin_apply(admin, plan, &options, NULL), CONEY_E_INVALID, "topology does not have it");
    one = (coney_queue_change){.queue = queue};
    assert_fails(coney_admin_apply(admin, plan, &options, NULL), CONEY_E_INVALID, "needs the queue and its new_name");
    assert_fails(coney_admin_apply(admin, plan, &(coney_apply_options){.change_count = 1}, NULL), CONEY_E_INVALID,
                 "a list is NULL");
}

static atomic_int in_callback;

static void apply_in_callback(coney_message *message, const coney_error *error, void *user)
{
    (void)message, (void)error, (void)user;
    atomic_store(&in_callback, (int)coney_admin_apply(admin, plan, NULL, NULL));
}

/* The callbacks of what is moved would wait for this one. */
static void test_apply_from_a_callback_is_refused(void **state)
{
    (void)state;
    use_old_queue(CONEY_CLASSIC);
    make_plan();
    atomic_store(&in_callback, -1);
    coney_message *message = test_text("0");
    assert_ok(coney_template_send_async(client.sender, queue, message, NULL, apply_in_callback, NULL));
    coney_message_unref(message);
    test_wait_until(atomic_load(&in_callback) >= 0);
    assert_int_equal(atomic_load(&in_callback), CONEY_E_STATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        change_test(test_classic_queue_becomes_a_quorum_queue_under_load),
        change_test(test_quorum_queue_gets_another_argument_under_load),
        change_test(test_listener_on_the_old_queue_must_be_moved_first),
        change_test(test_interrupted_change_goes_on),
        change_test(test_properties_are_moved_and_addresses_are_not_used_again),
        change_test(test_binding_to_a_foreign_exchange_goes_with_the_queue),
        change_test(test_wrong_changes_are_refused),
        change_test(test_apply_from_a_callback_is_refused),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
