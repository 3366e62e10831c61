/* SPDX-License-Identifier: MIT */
/* What a topology refuses and accepts when something is added: flags that contradict each other, one name with
 * different properties, anonymous queues, dead letters, super streams, matching of headers. */
#include "amqp/amqp.h"
#include "support/test_support.h"
#include "topology/topology.h"

static coney_topology *topology;

static int set_up(void **state)
{
    (void)state;
    topology = coney_topology_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    coney_topology_free(topology);
    return 0;
}

/* NOLINTNEXTLINE(bugprone-macro-parentheses): braces, which cannot be in parentheses */
#define REFUSED(queue, words) assert_fails(cny_queue_check(&(coney_queue)queue), CONEY_E_INVALID, words)
#define Q(...)                                                                                                         \
    {                                                                                                                  \
        .name = "q", __VA_ARGS__                                                                                       \
    }

static void test_flags_that_no_such_queue_can_have_are_refused(void **state)
{
    (void)state;
    REFUSED(Q(.kind = CONEY_QUORUM, .exclusive = true), "queue 'q' is a quorum queue: exclusive is set");
    REFUSED(Q(.kind = CONEY_QUORUM, .auto_delete = true), "auto_delete is set");
    REFUSED(Q(.kind = CONEY_STREAM, .transient = true), "queue 'q' is a stream: transient is set");
    assert_ok(cny_queue_check(&(coney_queue)Q(.kind = CONEY_CLASSIC, .exclusive = true, .transient = true)));
}

static void test_fields_of_another_kind_are_refused(void **state)
{
    (void)state;
    REFUSED(Q(.kind = CONEY_QUORUM, .max_priority = 5), "max_priority is 5, which is for classic queues only");
    REFUSED(Q(.kind = CONEY_STREAM, .message_ttl_ms = 5), "message_ttl_ms is 5, which is for classic and quorum");
    REFUSED(Q(.kind = CONEY_CLASSIC, .delivery_limit = 5), "delivery_limit is 5, which is for quorum queues only");
    REFUSED(Q(.max_age = "7D"), "queue 'q' is a queue of the default kind: max_age is '7D', which is for streams only");
    REFUSED(Q(.initial_group_size = 3), "for quorum queues and streams only");
    REFUSED(Q(.anonymous = true), "anonymous and has a name");
}

static void test_words_and_numbers_of_streams_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "7", "D", "7d", "7DD", "-7D", "7 D", "12345678901D"};
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        REFUSED(Q(.kind = CONEY_STREAM, .max_age = wrong[i]), "write a number and one of Y, M, D, h, m, s");
    REFUSED(Q(.kind = CONEY_STREAM, .filter_size_bytes = 15), "filter_size_bytes is 15, which is below 16");
    REFUSED(Q(.kind = CONEY_STREAM, .max_segment_size_bytes = 3000000001), "which is above 3000000000");
    assert_ok(cny_queue_check(&(coney_queue)Q(.kind = CONEY_STREAM, .max_age = "30s", .filter_size_bytes = 255)));
}

static void test_at_least_once_without_its_conditions_is_refused(void **state)
{
    (void)state;
    REFUSED(Q(.kind = CONEY_QUORUM, .dead_letter_strategy = CONEY_DEAD_LETTER_AT_LEAST_ONCE),
            "needs a dead_letter_exchange");
    REFUSED(
        Q(.kind = CONEY_QUORUM, .dead_letter_strategy = CONEY_DEAD_LETTER_AT_LEAST_ONCE, .dead_letter_exchange = "dlx"),
        "unless overflow is CONEY_REJECT_PUBLISH");
}

static void test_same_thing_again_is_added_once(void **state)
{
    (void)state;
    size_t count;
    for (int i = 0; i < 2; i++) {
        assert_ok(coney_topology_add_exchange(topology, &(coney_exchange){.name = "e", .type = CONEY_TOPIC}));
        assert_ok(coney_topology_add_queue(topology, &(coney_queue)Q(.message_ttl_ms = 7)));
        assert_ok(coney_topology_bind(topology, "e", "q", "k"));
    }
    assert_ok(coney_topology_bind(topology, "e", "q", NULL));
    assert_ok(coney_topology_bind(topology, "e", "q", ""));
    cny_topology_exchanges(topology, &count);
    assert_int_equal(count, 1);
    cny_topology_queues(topology, &count);
    assert_int_equal(count, 1);
    cny_topology_bindings(topology, &count);
    assert_int_equal(count, 2);
}

static void test_same_name_with_other_properties_is_refused(void **state)
{
    (void)state;
    assert_ok(coney_topology_add_queue(topology, &(coney_queue)Q(.message_ttl_ms = 7)));
    assert_fails(coney_topology_add_queue(topology, &(coney_queue)Q(.message_ttl_ms = 8)), CONEY_E_INVALID,
                 "queue 'q' is in the topology already: message_ttl_ms is 7 there and 8 here");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue)Q(.message_ttl_ms = 7, .exclusive = true)),
                 CONEY_E_INVALID, "exclusive differs");
    assert_ok(coney_topology_add_exchange(topology, &(coney_exchange){.name = "e"}));
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){.name = "e", .type = CONEY_FANOUT}),
                 CONEY_E_INVALID, "exchange 'e' is in the topology already: type is direct there and fanout here");
}

static void test_external_thing_gives_way_to_a_declared_one(void **state)
{
    (void)state;
    assert_ok(coney_topology_add_queue(topology, &(coney_queue)Q(.external = true)));
    assert_ok(coney_topology_add_queue(topology, &(coney_queue)Q(.max_length = 5)));
    assert_ok(coney_topology_add_queue(topology, &(coney_queue)Q(.external = true)));
    assert_int_equal(cny_topology_find_queue(topology, "q")->max_length, 5);
}

static void test_ten_thousand_names_are_found(void **state)
{
    (void)state;
    char name[32];
    size_t count;
    for (int i = 0; i < 20000; i++) {
        snprintf(name, sizeof name, "q%d", i % 10000);
        assert_ok(coney_topology_add_queue(topology, &(coney_queue){.name = name}));
        assert_ok(coney_topology_bind(topology, "e", name, name));
    }
    cny_topology_queues(topology, &count);
    assert_int_equal(count, 10000);
    assert_non_null(cny_topology_find_queue(topology, "q9999"));
    assert_null(cny_topology_find_queue(topology, "q10000"));
}

static void test_anonymous_queue_gets_a_name_that_stays(void **state)
{
    (void)state;
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.anonymous = true}));
    const char *name = coney_topology_queue_name(topology);
    assert_int_equal(strlen(name), strlen("spring.gen-") + 22);
    assert_memory_equal(name, "spring.gen-", strlen("spring.gen-"));
    assert_int_equal(strspn(name + 11, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 22);
    const coney_queue *queue = cny_topology_find_queue(topology, name);
    assert_true(queue->exclusive && queue->auto_delete && queue->transient);
    coney_topology *copy = cny_topology_copy(topology);
    assert_string_equal(coney_topology_queue_name(copy), name);
    coney_topology_free(copy);
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.anonymous = true, .name_prefix = "shop."}));
    assert_memory_equal(coney_topology_queue_name(topology), "shop.", 5);
    assert_string_not_equal(coney_topology_queue_name(topology), name);
}

static void test_wrong_anonymous_queues_are_refused(void **state)
{
    (void)state;
    char prefix[300], name[CONEY_NAME_SIZE];
    memset(prefix, 'p', sizeof prefix);
    prefix[234] = '\0';
    assert_fails(coney_queue_make_name(name, prefix), CONEY_E_INVALID, "has 234 bytes; at most 233");
    assert_ok(coney_queue_make_name(name, prefix + 1));
    assert_int_equal(strlen(name), 255);
    assert_fails(cny_queue_check(&(coney_queue){.anonymous = true, .external = true}), CONEY_E_INVALID, "external");
    assert_fails(cny_queue_check(&(coney_queue){.anonymous = true, .kind = CONEY_QUORUM}), CONEY_E_INVALID,
                 "exclusive is set");
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .name_prefix = "p"}), CONEY_E_INVALID,
                 "for anonymous queues only");
}

static void test_dead_letters_come_by_one_call(void **state)
{
    (void)state;
    size_t count;
    const coney_queue orders = {.name = "orders", .kind = CONEY_QUORUM};
    assert_ok(coney_topology_add_queue_with_dead_letters(topology, &orders, NULL));
    const coney_queue *queue = cny_topology_find_queue(topology, "orders");
    assert_string_equal(queue->dead_letter_exchange, "orders.dlx");
    assert_string_equal(queue->dead_letter_routing_key, "orders");
    assert_int_equal(cny_topology_find_queue(topology, "orders.dlq")->kind, CONEY_QUORUM);
    const coney_binding *binding = cny_topology_bindings(topology, &count);
    assert_int_equal(count, 1);
    assert_string_equal(binding->exchange, "orders.dlx");
    assert_string_equal(binding->destination, "orders.dlq");
    assert_string_equal(binding->routing_key, "orders");
    const coney_dead_letters shared = {.exchange = "dead", .routing_key = "o", .queue = {.name = "all.dead"}};
    assert_ok(coney_topology_add_queue_with_dead_letters(topology, &(coney_queue){.name = "other"}, &shared));
    assert_string_equal(cny_topology_find_queue(topology, "other")->dead_letter_exchange, "dead");
    assert_non_null(cny_topology_find_queue(topology, "all.dead"));
}

static void test_wrong_dead_letters_are_remembered(void **state)
{
    (void)state;
    const coney_queue twice = {.name = "q", .dead_letter_exchange = "own"};
    assert_fails(coney_topology_add_queue_with_dead_letters(topology, &twice, NULL), CONEY_E_INVALID,
                 "set the exchange in coney_dead_letters instead");
    assert_non_null(topology->failure);
}

static void test_super_stream_is_an_exchange_and_its_streams(void **state)
{
    (void)state;
    size_t count;
    const coney_super_stream stream = {.name = "s", .partitions = 3, .stream = {.max_age = "7D"}};
    assert_ok(coney_topology_add_super_stream(topology, &stream));
    const coney_exchange *exchange = cny_topology_find_exchange(topology, "s");
    assert_true(coney_table_get(exchange->arguments, "x-super-stream")->as.boolean);
    const coney_queue *queue = cny_topology_find_queue(topology, "s-2");
    assert_int_equal(queue->kind, CONEY_STREAM);
    assert_string_equal(queue->max_age, "7D");
    const coney_binding *bindings = cny_topology_bindings(topology, &count);
    assert_int_equal(count, 3);
    assert_string_equal(bindings[2].routing_key, "2");
    assert_int_equal(coney_table_get_int64(bindings[2].arguments, "x-stream-partition-order", -1), 2);
}

static void test_wrong_super_streams_are_refused(void **state)
{
    (void)state;
    const char *const keys[] = {"eu", NULL};
    assert_fails(coney_topology_add_super_stream(topology, &(coney_super_stream){.name = "s"}), CONEY_E_INVALID,
                 "partitions is 0");
    assert_fails(coney_topology_add_super_stream(
                     topology, &(coney_super_stream){.name = "s", .partitions = 2, .routing_keys = keys}),
                 CONEY_E_INVALID, "routing_keys ends after 1 keys");
    assert_fails(coney_topology_add_super_stream(
                     topology, &(coney_super_stream){.name = "s", .partitions = 2, .stream = {.kind = CONEY_QUORUM}}),
                 CONEY_E_INVALID, "its queues are streams");
}

static void test_headers_are_matched_by_arguments(void **state)
{
    (void)state;
    coney_table *values = coney_table_new(), *arguments;
    const char *const present[] = {"b", NULL}, *const twice[] = {"a", NULL}, *const hidden[] = {"x-b", NULL};
    assert_ok(coney_table_set_int64(values, "a", 1));
    assert_ok(coney_match_headers(&arguments, CONEY_MATCH_ANY, values, present));
    assert_string_equal(coney_table_get_string(arguments, "x-match"), "any");
    assert_int_equal(coney_table_get(arguments, "b")->type, CONEY_VOID);
    assert_int_equal(coney_table_get_int64(arguments, "a", 0), 1);
    coney_table_free(arguments);
    assert_ok(coney_match_headers(&arguments, CONEY_MATCH_ALL_WITH_X, NULL, hidden));
    assert_string_equal(coney_table_get_string(arguments, "x-match"), "all-with-x");
    coney_table_free(arguments);
    assert_fails(coney_match_headers(&arguments, CONEY_MATCH_ALL, NULL, hidden), CONEY_E_INVALID,
                 "such a header is not looked at");
    assert_fails(coney_match_headers(&arguments, CONEY_MATCH_ALL, values, twice), CONEY_E_INVALID, "given twice");
    assert_fails(coney_match_headers(&arguments, CONEY_MATCH_ALL, NULL, NULL), CONEY_E_INVALID,
                 "every message would match");
    coney_table_free(values);
}

static void test_exchanges_of_plugins_have_their_arguments(void **state)
{
    (void)state;
    coney_table *arguments;
    const coney_exchange delayed = {.name = "e", .type = CONEY_TOPIC, .delayed = true};
    assert_string_equal(cny_exchange_type_name(&delayed), "x-delayed-message");
    assert_ok(cny_exchange_arguments(&arguments, &delayed));
    assert_string_equal(coney_table_get_string(arguments, "x-delayed-type"), "topic");
    coney_table_free(arguments);
    const coney_exchange both = {
        .name = "e", .type = CONEY_CONSISTENT_HASH, .hash_header = "h", .hash_property = "message_id"};
    assert_fails(cny_exchange_check(&both), CONEY_E_INVALID, "one of the two can be hashed");
    assert_fails(cny_exchange_check(&(coney_exchange){.name = "e", .hash_header = "h"}), CONEY_E_INVALID,
                 "set type to CONEY_CONSISTENT_HASH");
    assert_fails(
        cny_exchange_check(&(coney_exchange){.name = "e", .type = CONEY_CONSISTENT_HASH, .hash_property = "app_id"}),
        CONEY_E_INVALID, "hash_property is 'app_id'");
}

static void test_binding_that_every_queue_has_is_left_out(void **state)
{
    (void)state;
    size_t count;
    assert_ok(coney_topology_bind(topology, "", "q", "q"));
    cny_topology_bindings(topology, &count);
    assert_int_equal(count, 0);
    assert_fails(coney_topology_bind(topology, "", "q", "other"), CONEY_E_INVALID, "the default exchange");
}

static void test_brokers_sentence_about_a_mismatch_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *argument, *declared, *existing;
    } all[] = {
        {"406 PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '5' "
         "of "
         "type 'long' but current is none; it is there with other properties. Declare it",
         "x-max-length", "5", "none"},
        {"inequivalent arg 'x-overflow' for queue 'q' in vhost '/': received none but current is the value "
         "'drop-head' of type 'longstr'",
         "x-overflow", "none", "drop-head"},
        {"inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'", "durable",
         "false", "true"},
        {"inequivalent arg 'type' for exchange ': received 'a' but current is 'b'' in vhost '/': received 'topic' but "
         "current is 'direct'",
         "type", "topic", "direct"},
        {"inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received the value 'it's' of type "
         "'longstr' but current is the value 'd' of type 'longstr'",
         "x-dead-letter-exchange", "it's", "d"},
    };
    cny_mismatch mismatch;
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        assert_true(cny_read_mismatch(&mismatch, all[i].text));
        assert_string_equal(mismatch.argument, all[i].argument);
        assert_string_equal(mismatch.declared, all[i].declared);
        assert_string_equal(mismatch.existing, all[i].existing);
    }
    assert_false(cny_read_mismatch(&mismatch, "404 NOT_FOUND - no queue 'inequivalent arg 'x''"));
    assert_false(cny_read_mismatch(&mismatch, "inequivalent arg 'x' for queue 'q': received but current is "));
    assert_string_equal(cny_queue_field_of(&(coney_queue){.name = "q"}, "x-message-ttl"), "message_ttl_ms");
    assert_string_equal(cny_queue_field_of(&(coney_queue){.name = "q"}, "durable"), "transient");
    assert_string_equal(cny_exchange_field_of(&(coney_exchange){.name = "q"}, "type"), "type");
}

static void test_without_memory_nothing_is_half_added(void **state)
{
    (void)state;
    const coney_queue orders = {.name = "orders", .kind = CONEY_QUORUM};
    for (int after = 0; after < 60; after++) {
        coney_topology *made = coney_topology_new();
        cny_alloc_fail_after(after);
        coney_status status = coney_topology_add_queue_with_dead_letters(made, &orders, NULL);
        if (status == CONEY_OK)
            status = coney_topology_add_super_stream(made, &(coney_super_stream){.name = "s", .partitions = 2});
        cny_alloc_fail_after(-1);
        assert_true(status == CONEY_OK || (status == CONEY_E_NO_MEMORY && made->failure));
        coney_topology_free(made);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_that_no_such_queue_can_have_are_refused),
        cmocka_unit_test(test_fields_of_another_kind_are_refused),
        cmocka_unit_test(test_words_and_numbers_of_streams_are_checked),
        cmocka_unit_test(test_at_least_once_without_its_conditions_is_refused),
        cmocka_unit_test_setup_teardown(test_same_thing_again_is_added_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_name_with_other_properties_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_external_thing_gives_way_to_a_declared_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ten_thousand_names_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_anonymous_queue_gets_a_name_that_stays, set_up, tear_down),
        cmocka_unit_test(test_wrong_anonymous_queues_are_refused),
        cmocka_unit_test_setup_teardown(test_dead_letters_come_by_one_call, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_dead_letters_are_remembered, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_super_stream_is_an_exchange_and_its_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wrong_super_streams_are_refused, set_up, tear_down),
        cmocka_unit_test(test_headers_are_matched_by_arguments),
        cmocka_unit_test(test_exchanges_of_plugins_have_their_arguments),
        cmocka_unit_test_setup_teardown(test_binding_that_every_queue_has_is_left_out, set_up, tear_down),
        cmocka_unit_test(test_brokers_sentence_about_a_mismatch_is_read),
        cmocka_unit_test(test_without_memory_nothing_is_half_added),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
