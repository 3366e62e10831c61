/* SPDX-License-Identifier: MIT */
/* Every field of a queue and of an exchange that goes to the broker as an argument arrives there with its name, its type
 * and its value, as the management API tells. */
#include "support/plain_client.h"
#include "support/test_support.h"
#include "topology/fields.h"
#include "topology/inventory.h"
#include "topology/same.h"

#include <coney/management/management.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEEDS_3_12 = 1, NEEDS_4_3, NEEDS_3_11, NEEDS_4_0 };

typedef struct declared_queue {
    int release;
    coney_queue queue;
} declared_queue;

#define QUORUM .kind = CONEY_QUORUM
#define RETRY .delayed_retry_min_ms = 100, .delayed_retry_max_ms = 200

static const declared_queue queues[] = {
    {0, {.kind = CONEY_CLASSIC}},
    {0, {.kind = CONEY_QUORUM}},
    {0, {.kind = CONEY_STREAM}},
    {0, {.message_ttl_ms = 60000}},
    {0, {.message_ttl_ms = 4294967295}},
    {0, {.expires_ms = 600000}},
    {0, {.max_length = 5}},
    {0, {.max_length = 5000000000}},
    {0, {.max_length_bytes = 1000000}},
    {0, {.overflow = CONEY_DROP_HEAD}},
    {0, {.overflow = CONEY_REJECT_PUBLISH}},
    {0, {.overflow = CONEY_REJECT_PUBLISH_DLX, .dead_letter_exchange = "dlx", .dead_letter_routing_key = "k"}},
    {0, {.dead_letter_exchange = ""}},
    {0, {QUORUM, .dead_letter_strategy = CONEY_DEAD_LETTER_AT_MOST_ONCE}},
    {0,
     {QUORUM, .dead_letter_strategy = CONEY_DEAD_LETTER_AT_LEAST_ONCE, .dead_letter_exchange = "dlx",
      .overflow = CONEY_REJECT_PUBLISH}},
    {0, {.max_priority = 9}},
    {0, {QUORUM, .delivery_limit = 7}},
    {0, {.single_active_consumer = true}},
    {0, {QUORUM, .single_active_consumer = true}},
    {0, {.lazy = true}},
    {0, {QUORUM, .leader_locator = CONEY_LEADER_CLIENT_LOCAL}},
    {0, {QUORUM, .leader_locator = CONEY_LEADER_BALANCED}},
    {0, {.kind = CONEY_STREAM, .leader_locator = CONEY_LEADER_RANDOM}},
    {NEEDS_4_0, {.kind = CONEY_STREAM, .leader_locator = CONEY_LEADER_MIN_MASTERS}},
    {NEEDS_3_11, {.kind = CONEY_CLASSIC, .leader_locator = CONEY_LEADER_BALANCED}},
    {0, {QUORUM, .initial_group_size = 1}},
    {0, {.kind = CONEY_STREAM, .initial_group_size = 1}},
    {0, {.kind = CONEY_STREAM, .max_age = "7D"}},
    {0, {.kind = CONEY_STREAM, .max_segment_size_bytes = 20000000}},
    {NEEDS_3_12, {.kind = CONEY_STREAM, .filter_size_bytes = 32}},
    {NEEDS_4_3, {QUORUM, RETRY, .delayed_retry = CONEY_DELAYED_RETRY_FAILED}},
    {NEEDS_4_3, {QUORUM, RETRY, .delayed_retry = CONEY_DELAYED_RETRY_ALL}},
    {NEEDS_4_3, {QUORUM, RETRY, .delayed_retry = CONEY_DELAYED_RETRY_RETURNED}},
    {NEEDS_4_3, {QUORUM, .delayed_retry = CONEY_DELAYED_RETRY_DISABLED}},
    {NEEDS_3_12, {QUORUM, .consumer_timeout_ms = 120000}},
    {NEEDS_4_3, {QUORUM, .consumer_disconnected_timeout_ms = 5000}},
};

static const coney_exchange exchanges[] = {
    {.type = CONEY_DIRECT},
    {.type = CONEY_TOPIC, .alternate_exchange = "other"},
    {.type = CONEY_FANOUT, .transient = true},
    {.type = CONEY_HEADERS, .internal = true},
    {.type = CONEY_CONSISTENT_HASH},
    {.type = CONEY_CONSISTENT_HASH, .hash_header = "customer"},
    {.type = CONEY_CONSISTENT_HASH, .hash_property = "message_id"},
};

static bool is_possible(int release)
{
    switch (release) {
    case NEEDS_3_11: return plain_broker_is_from(3, 11);
    case NEEDS_3_12: return plain_broker_is_from(3, 12);
    case NEEDS_4_0: return plain_broker_is_from(4, 0);
    case NEEDS_4_3: return plain_broker_is_from(4, 3);
    default: return true;
    }
}

static coney_inventory *read_inventory(void)
{
    coney_inventory *inventory;
    assert_ok(coney_management_read(
        &inventory, &(coney_management_options){.url = getenv("CONEY_TEST_MANAGEMENT_URL"), .timeout_ms = 20000}));
    return inventory;
}

static void need_management(void)
{
    if (!getenv("CONEY_TEST_MANAGEMENT_URL"))
        test_leave_out("the broker has no management API (CONEY_TEST_MANAGEMENT_URL)");
}

static const char *name_of(const char *kind, size_t i, char name[64])
{
    snprintf(name, 64, "coney.arguments.%s.%zu", kind, i);
    return name;
}

static void expect_same(const char *name, const coney_table *declared, const coney_table *found)
{
    for (size_t i = 0; i < coney_table_size(declared); i++) {
        const char *argument = coney_table_name_at(declared, i);
        const coney_value *value = coney_table_get(found, argument);
        if (!value || !cny_same_values(coney_table_value_at(declared, i), value)) {
            print_error("%s: %s is %s\n", name, argument, value ? "another" : "missing");
            fail();
        }
    }
    assert_int_equal(coney_table_size(declared), coney_table_size(found));
}

static void test_every_field_of_a_queue_arrives(void **state)
{
    (void)state;
    need_management();
    char name[64];
    bool seen[CNY_QUEUE_FIELDS] = {false};
    for (size_t i = 0; i < COUNT_OF(queues); i++) {
        coney_queue queue = queues[i].queue;
        cny_typed_field fields[CNY_QUEUE_FIELDS];
        queue.name = name_of("queue", i, name);
        cny_read_queue_fields(fields, &queue);
        for (size_t k = 0; k < CNY_QUEUE_FIELDS; k++)
            seen[k] |= fields[k].value.type != CONEY_VOID;
        if (is_possible(queues[i].release))
            assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
    }
    coney_inventory *inventory = read_inventory();
    for (size_t i = 0; i < COUNT_OF(queues); i++) {
        coney_queue queue = queues[i].queue;
        coney_table *arguments;
        queue.name = name_of("queue", i, name);
        if (!is_possible(queues[i].release))
            continue;
        const coney_found_queue *found = cny_inventory_find_queue(inventory, queue.name);
        assert_non_null(found);
        assert_true(found->durable);
        assert_ok(cny_queue_arguments(&arguments, &queue));
        if (!queue.kind) /* newer brokers add it */
            coney_table_set_string(arguments, "x-queue-type", "classic");
        if (!queue.kind && !coney_table_get(found->arguments, "x-queue-type")) {
            coney_table_free(arguments);
            assert_ok(cny_queue_arguments(&arguments, &queue));
        }
        expect_same(queue.name, arguments, found->arguments);
        coney_table_free(arguments);
        assert_ok(coney_admin_delete_queue(client.admin, queue.name, NULL));
    }
    coney_inventory_free(inventory);
    for (size_t k = 0; k < CNY_QUEUE_FIELDS; k++)
        assert_true(seen[k]); /* a new field needs a line above */
}

static void test_every_field_of_an_exchange_arrives(void **state)
{
    (void)state;
    need_management();
    char name[64];
    for (size_t i = 0; i < COUNT_OF(exchanges); i++) {
        coney_exchange exchange = exchanges[i];
        exchange.name = name_of("exchange", i, name);
        assert_ok(coney_admin_declare_exchange(client.admin, &exchange));
    }
    coney_inventory *inventory = read_inventory();
    for (size_t i = 0; i < COUNT_OF(exchanges); i++) {
        coney_exchange exchange = exchanges[i];
        coney_table *arguments;
        exchange.name = name_of("exchange", i, name);
        const coney_found_exchange *found = cny_inventory_find_exchange(inventory, exchange.name);
        assert_non_null(found);
        assert_string_equal(found->type, cny_exchange_type_name(&exchange));
        assert_int_equal(found->durable, !exchange.transient);
        assert_int_equal(found->internal, exchange.internal);
        assert_ok(cny_exchange_arguments(&arguments, &exchange));
        expect_same(exchange.name, arguments, found->arguments);
        coney_table_free(arguments);
        assert_ok(coney_admin_delete_exchange(client.admin, exchange.name));
    }
    coney_inventory_free(inventory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_field_of_a_queue_arrives),
        cmocka_unit_test(test_every_field_of_an_exchange_arrives),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
