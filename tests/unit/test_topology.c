/* SPDX-License-Identifier: MIT */
/* Declarations: their checks, and the arguments Spring's builders would send for them. */
#include "amqp/amqp.h"
#include "support/test_support.h"
#include "topology/topology.h"

static void test_queue_fields_become_the_arguments_spring_sends(void **state)
{
    (void)state;
    coney_table *own = coney_table_new(), *arguments;
    assert_ok(coney_table_set_string(own, "x-queue-mode", "lazy"));
    const coney_queue queue = {
        .name = "q",
        .kind = CONEY_QUORUM,
        .message_ttl_ms = 1000,
        .expires_ms = 2000,
        .max_length = 3,
        .max_length_bytes = 4,
        .overflow = CONEY_REJECT_PUBLISH_DLX,
        .dead_letter_exchange = "",
        .dead_letter_routing_key = "dead",
        .max_priority = 5, /* as no broker takes it: here all are wanted */
        .delivery_limit = 6,
        .single_active_consumer = true,
        .arguments = own,
    };
    assert_ok(cny_queue_arguments(&arguments, &queue));
    coney_table_free(own);
    assert_int_equal(coney_table_size(arguments), 12);
    assert_string_equal(coney_table_get_string(arguments, "x-queue-type"), "quorum");
    assert_string_equal(coney_table_get_string(arguments, "x-overflow"), "reject-publish-dlx");
    assert_string_equal(coney_table_get_string(arguments, "x-dead-letter-exchange"), "");
    assert_string_equal(coney_table_get_string(arguments, "x-dead-letter-routing-key"), "dead");
    assert_string_equal(coney_table_get_string(arguments, "x-queue-mode"), "lazy");
    assert_true(coney_table_get(arguments, "x-single-active-consumer")->as.boolean);
    static const struct {
        const char *name;
        int64_t number;
        coney_value_type type;
    } numbers[] = {
        {"x-message-ttl", 1000, CONEY_INT32}, {"x-expires", 2000, CONEY_INT32},
        {"x-max-length", 3, CONEY_INT64},     {"x-max-length-bytes", 4, CONEY_INT32},
        {"x-max-priority", 5, CONEY_INT32},   {"x-delivery-limit", 6, CONEY_INT32},
    };
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        assert_int_equal(coney_table_get_int64(arguments, numbers[i].name, 0), numbers[i].number);
        assert_int_equal(coney_table_get(arguments, numbers[i].name)->type, numbers[i].type);
    }
    coney_table_free(arguments);
}

static void test_fields_of_quorum_queues_become_arguments(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, "disabled", "all", "failed", "returned"};
    coney_table *arguments;
    coney_queue queue = {
        .name = "q",
        .kind = CONEY_QUORUM,
        .delayed_retry = CONEY_DELAYED_RETRY_FAILED,
        .delayed_retry_min_ms = 1,
        .delayed_retry_max_ms = 2,
        .consumer_timeout_ms = 3,
        .consumer_disconnected_timeout_ms = 4,
    };
    assert_ok(cny_queue_check(&queue));
    assert_ok(cny_queue_arguments(&arguments, &queue));
    assert_int_equal(coney_table_size(arguments), 6);
    static const char *const numbers[] = {"x-delayed-retry-min", "x-delayed-retry-max", "x-consumer-timeout",
                                          "x-consumer-disconnected-timeout"};
    for (int i = 0; i < (int)COUNT_OF(numbers); i++) {
        assert_int_equal(coney_table_get_int64(arguments, numbers[i], 0), i + 1);
        assert_int_equal(coney_table_get(arguments, numbers[i])->type, CONEY_INT32);
    }
    coney_table_free(arguments);
    for (size_t i = 1; i < COUNT_OF(types); i++) {
        queue.delayed_retry = (coney_delayed_retry)i;
        assert_ok(cny_queue_arguments(&arguments, &queue));
        assert_string_equal(coney_table_get_string(arguments, "x-delayed-retry-type"), types[i]);
        coney_table_free(arguments);
    }
}

/* The broker takes each of these, except for queues of another kind, and delays nothing. */
static void test_delayed_retry_that_would_delay_nothing_is_refused(void **state)
{
    (void)state;
    static const struct {
        coney_queue queue;
        const char *words;
    } cases[] = {
        {{.delayed_retry = (coney_delayed_retry)5}, "5 is no coney_delayed_retry"},
        {{.delayed_retry = CONEY_DELAYED_RETRY_ALL}, "delayed_retry_min_ms is 0, so the broker would delay nothing"},
        {{.delayed_retry = CONEY_DELAYED_RETRY_FAILED, .delayed_retry_max_ms = 5}, "delayed_retry_min_ms is 0"},
        {{.delayed_retry = CONEY_DELAYED_RETRY_ALL, .delayed_retry_min_ms = -5}, "delayed_retry_min_ms is -5"},
        {{.delayed_retry_min_ms = 5}, "delayed_retry_min_ms is 5, and delayed_retry is not set"},
        {{.delayed_retry = CONEY_DELAYED_RETRY_DISABLED, .delayed_retry_max_ms = 5},
         "delayed_retry_max_ms is 5, and delayed_retry is CONEY_DELAYED_RETRY_DISABLED"},
        {{.delayed_retry = CONEY_DELAYED_RETRY_ALL, .delayed_retry_min_ms = 5, .delayed_retry_max_ms = 4},
         "delayed_retry_max_ms is 4, which is below delayed_retry_min_ms, 5"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        coney_queue queue = cases[i].queue;
        queue.name = "q";
        queue.kind = CONEY_QUORUM;
        assert_fails(cny_queue_check(&queue), CONEY_E_INVALID, cases[i].words);
    }
}

static void test_fields_of_quorum_queues_are_refused_for_others(void **state)
{
    (void)state;
    static const coney_queue cases[] = {
        {.name = "delayed_retry is", .delayed_retry = CONEY_DELAYED_RETRY_ALL, .delayed_retry_min_ms = 5},
        {.name = "delayed_retry is", .delayed_retry = CONEY_DELAYED_RETRY_DISABLED},
        {.name = "consumer_timeout_ms is", .consumer_timeout_ms = 5},
        {.name = "consumer_disconnected_timeout_ms is", .consumer_disconnected_timeout_ms = 5},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        coney_queue queue = cases[i];
        assert_fails(cny_queue_check(&queue), CONEY_E_INVALID, queue.name);
        queue.kind = CONEY_CLASSIC;
        assert_fails(cny_queue_check(&queue), CONEY_E_INVALID, "for quorum queues only; set kind to CONEY_QUORUM");
        queue.kind = CONEY_QUORUM;
        assert_ok(cny_queue_check(&queue));
    }
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .kind = CONEY_QUORUM, .consumer_timeout_ms = -1}),
                 CONEY_E_INVALID, "consumer_timeout_ms is -1, which is below 0");
    const coney_queue never = {.name = "q", .kind = CONEY_QUORUM, .consumer_timeout_ms = INT64_MAX};
    assert_fails(cny_queue_check(&never), CONEY_E_INVALID,
                 "consumer_timeout_ms is 9223372036854775807, which is above 4294967295");
    assert_ok(cny_queue_check(&(coney_queue){.name = "q", .message_ttl_ms = UINT32_MAX}));
}

static void test_queue_says_whether_it_delays_failures(void **state)
{
    (void)state;
    static const bool expected[] = {false, false, true, true, false};
    coney_table *arguments = coney_table_new();
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        const coney_queue queue = {.name = "q", .delayed_retry = (coney_delayed_retry)i};
        assert_int_equal(cny_queue_delays_failures(&queue), expected[i]);
    }
    const coney_queue queue = {.name = "q", .arguments = arguments};
    assert_ok(coney_table_set_string(arguments, "x-delayed-retry-type", "failed"));
    assert_false(cny_queue_delays_failures(&queue)); /* to the broker it is disabled without a shortest delay */
    assert_ok(coney_table_set_int64(arguments, "x-delayed-retry-min", 0));
    assert_false(cny_queue_delays_failures(&queue));
    assert_ok(coney_table_set_string(arguments, "x-delayed-retry-min", "5"));
    assert_false(cny_queue_delays_failures(&queue));
    assert_ok(coney_table_set_int64(arguments, "x-delayed-retry-min", 5));
    assert_true(cny_queue_delays_failures(&queue));
    assert_ok(coney_table_set_string(arguments, "x-delayed-retry-type", "returned"));
    assert_false(cny_queue_delays_failures(&queue));
    coney_table_free(arguments);
}

/* RabbitMQ makes up names for classic queues only. */
static void test_queue_without_a_name_is_classic_unless_the_program_says_otherwise(void **state)
{
    (void)state;
    coney_table *arguments, *own = coney_table_new();
    assert_ok(coney_table_set_string(own, "x-queue-type", "stream"));
    const struct {
        coney_queue queue;
        const char *type;
    } cases[] = {
        {{.name = "", .max_priority = 5}, "classic"},
        {{.name = "", .kind = CONEY_QUORUM}, "quorum"},
        {{.name = "", .arguments = own}, "stream"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_ok(cny_queue_arguments(&arguments, &cases[i].queue));
        const char *type = coney_table_get_string(arguments, "x-queue-type");
        assert_string_equal(type ? type : "none", cases[i].type);
        coney_table_free(arguments);
    }
    coney_table_free(own);
}

static void test_nothing_set_sends_no_arguments(void **state)
{
    (void)state;
    coney_table *arguments;
    assert_ok(cny_queue_arguments(&arguments, &(coney_queue){.name = "q"}));
    assert_int_equal(coney_table_size(arguments), 0);
    coney_table_free(arguments);
    assert_ok(cny_exchange_arguments(&arguments, &(coney_exchange){.name = "e", .alternate_exchange = "other"}));
    assert_string_equal(coney_table_get_string(arguments, "alternate-exchange"), "other");
    coney_table_free(arguments);
}

static void test_what_cannot_be_declared_is_refused(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    coney_topology *topology = coney_topology_new();
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){0}), CONEY_E_INVALID, "the name is NULL");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = name}), CONEY_E_INVALID, "256 bytes");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .message_ttl_ms = -1}), CONEY_E_INVALID,
                 "queue 'q': message_ttl_ms is -1");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .max_priority = 256}), CONEY_E_INVALID,
                 "max_priority is 256");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .kind = (coney_queue_kind)9}),
                 CONEY_E_INVALID, "9 is no coney_queue_kind");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .dead_letter_routing_key = "k"}),
                 CONEY_E_INVALID, "needs a dead_letter_exchange");
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = "q", .dead_letter_exchange = "\xff"}),
                 CONEY_E_INVALID, "queue 'q': dead_letter_exchange is not UTF-8");
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){.name = "e", .alternate_exchange = name}),
                 CONEY_E_INVALID, "alternate_exchange 'nnn");
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){.name = ""}), CONEY_E_INVALID,
                 "it needs a name");
    assert_fails(coney_topology_add_exchange(topology, &(coney_exchange){.name = "e", .type = (coney_exchange_type)7}),
                 CONEY_E_INVALID, "7 is no coney_exchange_type");
    assert_fails(coney_topology_bind(topology, "", "q", "k"), CONEY_E_INVALID, "default exchange");
    assert_fails(coney_topology_bind(topology, "e", NULL, "k"), CONEY_E_INVALID, "NULL");
    assert_fails(coney_topology_bind(topology, "e", "", "k"), CONEY_E_INVALID, "the destination is empty");
    assert_fails(coney_topology_bind(topology, "e", "q", name), CONEY_E_INVALID, "routing key");
    coney_topology_free(topology);
}

static void test_topology_remembers_its_first_failure(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = "good"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "bad", .expires_ms = -7});
    coney_topology_bind(topology, "", "good", "");
    assert_ok(coney_connection_factory_new(&factory, "amqp://nowhere", NULL));
    assert_fails(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}), CONEY_E_INVALID,
                 "queue 'bad': expires_ms is -7");
    coney_connection_factory_free(factory);
    coney_topology_free(topology);
}

/* Which of the two would win nobody sees. */
static void test_argument_that_contradicts_its_field_is_refused(void **state)
{
    (void)state;
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set_int64(arguments, "x-message-ttl", 6000));
    assert_ok(coney_table_set_string(arguments, "x-queue-type", "classic"));
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .message_ttl_ms = 5000, .arguments = arguments}),
                 CONEY_E_INVALID, "message_ttl_ms is 5000, but its argument 'x-message-ttl' is 6000");
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .kind = CONEY_QUORUM, .arguments = arguments}),
                 CONEY_E_INVALID, "kind is 'quorum', but its argument 'x-queue-type' is 'classic'");
    assert_ok(cny_queue_check(
        &(coney_queue){.name = "q", .kind = CONEY_CLASSIC, .message_ttl_ms = 6000, .arguments = arguments}));
    assert_ok(coney_table_set_string(arguments, "x-queue-type", "quorum"));
    assert_ok(coney_table_set_int64(arguments, "x-consumer-timeout", 7));
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .consumer_timeout_ms = 8, .arguments = arguments}),
                 CONEY_E_INVALID, "consumer_timeout_ms is 8, but its argument 'x-consumer-timeout' is 7");
    assert_ok(coney_table_set_string(arguments, "alternate-exchange", "one"));
    assert_fails(
        cny_exchange_check(&(coney_exchange){.name = "e", .alternate_exchange = "two", .arguments = arguments}),
        CONEY_E_INVALID, "alternate_exchange is 'two', but its argument 'alternate-exchange' is 'one'");
    coney_table_free(arguments);
}

static void test_no_delivery_limit_is_minus_one(void **state)
{
    (void)state;
    coney_table *arguments;
    const coney_queue queue = {.name = "q", .delivery_limit = -1};
    assert_ok(cny_queue_check(&queue));
    assert_ok(cny_queue_arguments(&arguments, &queue));
    assert_int_equal(coney_table_get_int64(arguments, "x-delivery-limit", 0), -1);
    coney_table_free(arguments);
    assert_fails(cny_queue_check(&(coney_queue){.name = "q", .delivery_limit = -2}), CONEY_E_INVALID,
                 "delivery_limit is -2, which is below -1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_fields_become_the_arguments_spring_sends),
        cmocka_unit_test(test_fields_of_quorum_queues_become_arguments),
        cmocka_unit_test(test_delayed_retry_that_would_delay_nothing_is_refused),
        cmocka_unit_test(test_fields_of_quorum_queues_are_refused_for_others),
        cmocka_unit_test(test_queue_says_whether_it_delays_failures),
        cmocka_unit_test(test_nothing_set_sends_no_arguments),
        cmocka_unit_test(test_queue_without_a_name_is_classic_unless_the_program_says_otherwise),
        cmocka_unit_test(test_what_cannot_be_declared_is_refused),
        cmocka_unit_test(test_topology_remembers_its_first_failure),
        cmocka_unit_test(test_argument_that_contradicts_its_field_is_refused),
        cmocka_unit_test(test_no_delivery_limit_is_minus_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
