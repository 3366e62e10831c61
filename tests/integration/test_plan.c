/* SPDX-License-Identifier: MIT */
/* Plans: what the broker has, compared with a topology, with and without its management API; and applying them. */
#include "base/base.h"
#include "support/container_fixture.h"
#include "support/test_support.h"

#include <coney/management/management.h>
#include <coney/rabbit/plan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static coney_admin *admin;
static coney_inventory *inventory;
static coney_plan *plan;
static char exchange[256], queue[256], other[256];

static int set_up(void **state)
{
    (void)state;
    snprintf(exchange, sizeof exchange, "%s", test_name("plan.exchange"));
    snprintf(queue, sizeof queue, "%s", test_name("plan.queue"));
    snprintf(other, sizeof other, "%s", test_name("plan.other"));
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
    coney_admin_delete_queue(client.admin, other, NULL);
    coney_admin_delete_exchange(client.admin, exchange);
    return test_no_failed_checks(state);
}

#define plan_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

/* An exchange, a queue and their binding. The admin declares nothing by itself. */
static void use_admin(const coney_queue *declared)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC});
    coney_topology_add_queue(topology, declared);
    coney_topology_bind(topology, exchange, queue, "key");
    assert_ok(
        coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology, .no_auto_declare = true}));
    coney_topology_free(topology);
}

static void read_inventory(void)
{
    const char *url = getenv("CONEY_TEST_MANAGEMENT_URL");
    if (!url)
        test_leave_out("the broker has no management API (CONEY_TEST_MANAGEMENT_URL)");
    coney_inventory_free(inventory);
    assert_ok(coney_management_read(&inventory, &(coney_management_options){.url = url}));
}

static void make_plan(bool with_inventory)
{
    if (with_inventory)
        read_inventory();
    coney_plan_free(plan);
    assert_ok(coney_admin_plan(&plan, admin, with_inventory ? inventory : NULL));
}

static const coney_plan_entry *entry_of(coney_declaration_kind kind, const char *name)
{
    for (size_t i = 0; i < coney_plan_size(plan); i++) {
        const coney_plan_entry *entry = coney_plan_at(plan, i);
        if (entry->kind == kind && strcmp(entry->name, name) == 0)
            return entry;
    }
    print_error("the plan does not have '%s'\n", name);
    fail();
    return NULL;
}

static void expect_states(coney_plan_state of_exchange, coney_plan_state of_queue, coney_plan_state of_binding)
{
    assert_int_equal(entry_of(CONEY_DECLARATION_EXCHANGE, exchange)->state, of_exchange);
    assert_int_equal(entry_of(CONEY_DECLARATION_QUEUE, queue)->state, of_queue);
    assert_int_equal(entry_of(CONEY_DECLARATION_BINDING, queue)->state, of_binding);
}

static void apply(const coney_apply_options *options, coney_apply_report *report)
{
    assert_ok(coney_admin_apply(admin, plan, options, report));
}

/* ---- states ---- */

static void test_without_an_inventory_things_are_there_or_missing(void **state)
{
    (void)state;
    use_admin(&(coney_queue){.name = queue, .max_length = 5});
    make_plan(false);
    expect_states(CONEY_PLAN_MISSING, CONEY_PLAN_MISSING, CONEY_PLAN_UNKNOWN);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    make_plan(false);
    expect_states(CONEY_PLAN_MISSING, CONEY_PLAN_THERE, CONEY_PLAN_UNKNOWN);
}

static void test_apply_declares_what_is_missing_and_changes_nothing_else(void **state)
{
    (void)state;
    coney_apply_report report;
    use_admin(&(coney_queue){.name = queue});
    make_plan(false);
    apply(NULL, &report);
    assert_int_equal(report.declared, 2);
    make_plan(true);
    expect_states(CONEY_PLAN_SAME, CONEY_PLAN_SAME, CONEY_PLAN_SAME);
    apply(NULL, &report);
    assert_int_equal(report.declared, 0);
}

static void test_each_difference_is_told_with_both_values(void **state)
{
    (void)state;
    char *text;
    use_admin(&(coney_queue){.name = queue, .max_length = 5, .kind = CONEY_QUORUM, .delivery_limit = 3});
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = queue, .message_ttl_ms = 7000, .kind = CONEY_QUORUM, .delivery_limit = 3},
        NULL));
    make_plan(true);
    const coney_plan_entry *entry = entry_of(CONEY_DECLARATION_QUEUE, queue);
    assert_int_equal(entry->state, CONEY_PLAN_DIFFERENT);
    assert_true(entry->must_be_replaced);
    assert_int_equal(entry->difference_count, 2);
    assert_ok(coney_plan_text(plan, &text));
    assert_non_null(strstr(text, "max_length is 5 in the topology and none at the broker"));
    assert_non_null(strstr(text, "message_ttl_ms is none in the topology and 7000 at the broker"));
    assert_non_null(strstr(text, "1 different"));
    coney_text_free(text);
}

static void test_value_of_a_policy_is_told_with_its_name(void **state)
{
    (void)state;
    char command[512];
    use_admin(&(coney_queue){.name = queue, .max_length = 50});
    assert_ok(coney_admin_declare(admin));
    snprintf(command, sizeof command, "set_policy plan-short '^%s$' '{\"max-length\":9}' --apply-to queues", queue);
    test_rabbitmqctl(command);
    const coney_plan_entry *entry = NULL;
    for (int waited = 0; !entry || entry->state != CONEY_PLAN_DIFFERENT;) {
        test_wait_a_little(&waited, "the policy is in force", __FILE__, __LINE__);
        make_plan(true);
        entry = entry_of(CONEY_DECLARATION_QUEUE, queue);
    }
    assert_int_equal(entry->difference_count, 1);
    assert_string_equal(entry->differences[0].field, "max_length");
    assert_string_equal(entry->differences[0].existing, "9");
    assert_string_equal(entry->differences[0].policy, "plan-short");
    assert_false(entry->must_be_replaced);
    test_rabbitmqctl("clear_policy plan-short");
}

static void test_extra_things_are_found_and_deleted_only_by_name(void **state)
{
    (void)state;
    const char *const names[] = {other, NULL}, *const wrong[] = {queue, NULL};
    const coney_binding binding = {.exchange = exchange, .destination = queue, .routing_key = "more"};
    coney_apply_report report;
    use_admin(&(coney_queue){.name = queue});
    assert_ok(coney_admin_declare(admin));
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = other}, NULL));
    assert_ok(coney_admin_declare_binding(client.admin, &binding));
    test_send_numbers(other, 1);
    test_wait_for_depth(other, 1);
    make_plan(true);
    assert_int_equal(entry_of(CONEY_DECLARATION_QUEUE, other)->state, CONEY_PLAN_EXTRA);
    apply(NULL, &report);
    assert_int_equal(report.deleted + report.unbound, 0);
    assert_fails(coney_admin_apply(admin, plan, &(coney_apply_options){.delete_queues = wrong}, NULL), CONEY_E_INVALID,
                 "the plan says that it is SAME");
    assert_fails(coney_admin_apply(admin, plan, &(coney_apply_options){.delete_queues = names}, NULL),
                 CONEY_E_PRECONDITION_FAILED, other);
    assert_ok(coney_admin_purge_queue(client.admin, other, NULL));
    apply(&(coney_apply_options){.delete_queues = names, .remove_bindings = &binding, .remove_binding_count = 1},
          &report);
    assert_int_equal(report.deleted, 1);
    assert_int_equal(report.unbound, 1);
}

static void test_queue_of_a_listener_is_not_extra(void **state)
{
    (void)state;
    coney_container *container;
    use_admin(&(coney_queue){.name = queue});
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(
        container,
        &(coney_listener){.declare = &(coney_queue){.name = other}, .on_message = test_handle, .user = &here.handler}));
    assert_ok(coney_container_start(container));
    make_plan(true);
    for (size_t i = 0; i < coney_plan_size(plan); i++)
        assert_string_not_equal(coney_plan_at(plan, i)->name, other);
    coney_container_free(container);
}

/* ---- many ---- */

enum { MANY = 1000, MOST_MS = 30000 }; /* it takes half a second, if nothing else runs on the machine */

static void expect_plan_within(int64_t most_ms, bool with_inventory, coney_plan_state expected)
{
    int64_t began = cny_now_ms();
    make_plan(with_inventory);
    int64_t took = cny_now_ms() - began;
    size_t count = 0;
    for (size_t i = 0; i < coney_plan_size(plan); i++)
        count += coney_plan_at(plan, i)->state == expected;
    print_message("a plan of %d %s, %s an inventory: %lld ms\n", MANY, coney_plan_state_name(expected),
                  with_inventory ? "with" : "without", (long long)took);
    assert_int_equal(count, MANY);
    assert_true(took < most_ms);
}

static void test_thousand_things_are_planned_quickly(void **state)
{
    (void)state;
    char name[300];
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%.200s.%d", queue, i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name, .kind = CONEY_CLASSIC});
    }
    assert_ok(
        coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology, .no_auto_declare = true}));
    coney_topology_free(topology);
    expect_plan_within(MOST_MS, false, CONEY_PLAN_MISSING);
    expect_plan_within(MOST_MS, true, CONEY_PLAN_MISSING);
    assert_ok(coney_admin_declare(admin));
    expect_plan_within(MOST_MS, false, CONEY_PLAN_THERE);
    expect_plan_within(MOST_MS, true, CONEY_PLAN_SAME);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%.200s.%d", queue, i);
        coney_admin_delete_queue(client.admin, name, NULL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        plan_test(test_without_an_inventory_things_are_there_or_missing),
        plan_test(test_apply_declares_what_is_missing_and_changes_nothing_else),
        plan_test(test_each_difference_is_told_with_both_values),
        plan_test(test_value_of_a_policy_is_told_with_its_name),
        plan_test(test_extra_things_are_found_and_deleted_only_by_name),
        plan_test(test_queue_of_a_listener_is_not_extra),
        plan_test(test_thousand_things_are_planned_quickly),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
