/* SPDX-License-Identifier: MIT */
/* Fields of a queue that only newer brokers know, above all delayed_retry, and listeners that leave the delays between
 * attempts to such a queue. What a broker would ignore is refused, by Coney. */
#include "support/elapsed.h"
#include "support/listening.h"
#include "support/plain_client.h"

#include "base/base.h"

#include <stdio.h>

enum { MIN_MS = 300, MAX_MS = 500 };

static const coney_queue delaying = {
    .kind = CONEY_QUORUM,
    .delayed_retry = CONEY_DELAYED_RETRY_FAILED,
    .delayed_retry_min_ms = MIN_MS,
    .delayed_retry_max_ms = MAX_MS,
};

static coney_connection_factory *own; /* a test's own factory, with a topology of its own */
static coney_admin *admin;
static coney_container *container;

static int teardown(void **state)
{
    coney_container_free(container);
    coney_admin_free(admin);
    coney_connection_factory_free(own);
    container = NULL;
    admin = NULL;
    own = NULL;
    return listening_teardown(state);
}

#define delayed_test(function) cmocka_unit_test_setup_teardown(function, listening_setup, teardown)

static void need_delays(void)
{
    if (!plain_broker_is_from(4, 3))
        test_leave_out(OLDER_THAN_4_3);
}

static void need_no_delays(void)
{
    if (plain_broker_is_from(4, 3))
        test_leave_out("RabbitMQ is new enough to delay retries");
}

/* ---- what the broker gets ---- */

/* Whether the broker says that the test's queue has this argument. */
static bool has_argument(const char *name, const coney_value *value)
{
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set(arguments, name, value));
    const coney_queue queue = {.name = listening.queue,
                               .kind = CONEY_QUORUM,
                               .dead_letter_exchange = "",
                               .dead_letter_routing_key = listening.dead,
                               .arguments = arguments};
    coney_status status = coney_admin_declare_queue(client.admin, &queue, NULL);
    coney_table_free(arguments);
    return status == CONEY_OK;
}

static void test_broker_gets_the_times_of_a_quorum_queue(void **state)
{
    (void)state;
    need_delays();
    coney_value two = {.type = CONEY_INT32, .as.integer = 2000}, three = {.type = CONEY_INT32, .as.integer = 3000};
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .consumer_timeout_ms = 2000});
    assert_true(has_argument("x-consumer-timeout", &two));
    assert_false(has_argument("x-consumer-timeout", &three));
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .consumer_disconnected_timeout_ms = 2000});
    assert_true(has_argument("x-consumer-disconnected-timeout", &two));
    assert_false(has_argument("x-consumer-disconnected-timeout", &three));
}

/* ---- what a broker would ignore ---- */

static const struct {
    coney_queue queue;
    int major, minor; /* the first release that heeds it */
    const char *words;
} fields[] = {
    {{.delayed_retry = CONEY_DELAYED_RETRY_ALL, .delayed_retry_min_ms = 5}, 4, 3, "delayed_retry needs RabbitMQ 4.3"},
    {{.consumer_timeout_ms = 5000}, 3, 12, "consumer_timeout_ms needs RabbitMQ 3.12"},
    {{.consumer_disconnected_timeout_ms = 5}, 4, 3, "consumer_disconnected_timeout_ms needs RabbitMQ 4.3"},
};

static void test_queue_is_refused_where_the_broker_would_ignore_a_field(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        coney_queue queue = fields[i].queue;
        queue.name = listening_other_queue("new");
        queue.kind = CONEY_QUORUM;
        if (plain_broker_is_from(fields[i].major, fields[i].minor))
            assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
        else
            assert_fails(coney_admin_declare_queue(client.admin, &queue, NULL), CONEY_E_INVALID, fields[i].words);
        test_delete_queue(queue.name);
    }
}

static void find_queue(const coney_declaration *declaration, void *user)
{
    if (strcmp(declaration->name, listening.queue) == 0)
        *(coney_declaration *)user = *declaration;
}

static coney_declaration declaration_of_the_queue(void)
{
    coney_declaration found = {0};
    assert_ok(coney_connection_factory_list_declarations(own, find_queue, &found));
    return found;
}

/* The test's queue and another one, which nothing is wrong with. */
static void declare_topology(const coney_queue *kind)
{
    coney_topology *topology = coney_topology_new();
    coney_queue queue = *kind;
    queue.name = listening.queue;
    coney_topology_add_queue(topology, &queue);
    coney_topology_add_queue(topology, &(coney_queue){.name = listening_other_queue("plain")});
    assert_ok(coney_connection_factory_new(&own, test_uri(), NULL));
    coney_status status =
        coney_admin_new(&admin, own, &(coney_admin_options){.topology = topology, .timeout_ms = TEST_PATIENCE_MS});
    coney_topology_free(topology);
    assert_ok(status);
}

static void test_delayed_retry_of_a_topology_is_refused_once_and_the_rest_is_declared(void **state)
{
    (void)state;
    need_no_delays();
    test_delete_queue(listening.queue);
    declare_topology(&delaying);
    assert_fails(coney_admin_declare(admin), CONEY_E_INVALID, "delayed_retry needs RabbitMQ 4.3");
    coney_declaration found = declaration_of_the_queue();
    assert_int_equal(found.state, CONEY_DECLARATION_REFUSED);
    assert_non_null(strstr(found.text, "would ignore it; leave it out, and let the listener wait"));
    coney_queue_info info;
    assert_fails(coney_admin_queue_info(client.admin, listening.queue, &info), CONEY_E_NOT_FOUND, "");
    assert_ok(coney_admin_queue_info(client.admin, listening_other_queue("plain"), &info));
    assert_int_equal(test_log_count("delayed_retry needs RabbitMQ 4.3"), 1);
}

static coney_status start(const coney_listener *listener)
{
    coney_listener made = *listener;
    made.retry = (coney_listener_retry){.delayed_by_queue = true};
    made.on_message = listening_obey;
    assert_ok(coney_container_new(&container, own ? own : client.factory,
                                  &(coney_container_options){.start_timeout_ms = TEST_PATIENCE_MS}));
    assert_ok(coney_container_listen(container, &made));
    listening_other_queue("parking");
    return coney_container_start(container);
}

static void test_listener_of_a_queue_that_should_delay_fails_to_start_with_an_older_broker(void **state)
{
    (void)state;
    need_no_delays();
    assert_fails(start(&(coney_listener){.queue = listening.queue}), CONEY_E_INVALID,
                 "retry.delayed_by_queue needs RabbitMQ 4.3 or newer");
    coney_container_free(container);
    coney_queue queue = delaying;
    queue.name = listening.queue;
    test_delete_queue(queue.name);
    assert_fails(start(&(coney_listener){.declare = &queue}), CONEY_E_INVALID, "delayed_retry needs RabbitMQ 4.3");
}

static void test_listener_fails_to_start_if_a_topology_declares_its_queue_without_a_delay(void **state)
{
    (void)state;
    test_delete_queue(listening.queue);
    declare_topology(&(coney_queue){.kind = CONEY_QUORUM});
    assert_fails(start(&(coney_listener){.queue = listening.queue}), CONEY_E_INVALID,
                 "is declared here without a delay for what has failed");
}

static void test_listener_fails_to_start_if_a_topology_declares_its_queue_with_too_low_a_limit(void **state)
{
    (void)state;
    coney_queue limited = delaying;
    limited.delivery_limit = 1;
    need_delays();
    test_delete_queue(listening.queue);
    declare_topology(&limited);
    assert_fails(start(&(coney_listener){.queue = listening.queue}), CONEY_E_INVALID,
                 "lets a message come back 1 times, so the broker would end the message before");
}

/* ---- a queue that delays ---- */

static void start_delayed(const coney_queue *queue, const coney_listener_retry *retry)
{
    coney_listener listener = {.retry = *retry};
    listening_use_queue(queue);
    listener.retry.delayed_by_queue = true;
    listening_start(&listener);
    listening_other_queue("parking");
}

static void expect_parked(const char *queue, int attempts)
{
    test_wait_for_depth(queue, 1);
    amqp_message_t parked = plain_get(queue);
    assert_int_equal(plain_number_header(&parked, CONEY_HEADER_ATTEMPTS), attempts);
    amqp_destroy_message(&parked);
}

static void test_queue_delays_attempts_and_then_the_message_is_parked(void **state)
{
    (void)state;
    need_delays();
    start_delayed(&delaying, &(coney_listener_retry){.max_attempts = 4});
    listening_send("fail");
    expect_parked(listening_other_queue("parking"), 4);
    listening_expect_attempts((const int[]){1, 2, 3, 4, 0});
    for (int i = 0; i < 3; i++) { /* 300 ms, then 500 instead of 600; the broker's clock is not ours */
        int64_t gap_ms = listening.calls[i + 1].at_ms - listening.calls[i].at_ms;
        assert_true(gap_ms >= (i == 0 ? MIN_MS : MAX_MS) - 20);
    }
    assert_int_equal(listening_statistics().requeued, 3);
    test_wait_until(listening_statistics().acknowledged == 1);
    listening_expect_nothing_left();
}

static void test_three_attempts_are_made_unless_told_otherwise(void **state)
{
    (void)state;
    need_delays();
    start_delayed(&delaying, &(coney_listener_retry){.exhausted = CONEY_EXHAUSTED_REJECT});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_last_attempt_is_made_at_the_delivery_limit(void **state)
{
    (void)state;
    need_delays();
    coney_queue limited = delaying;
    limited.delivery_limit = 2;
    start_delayed(&limited, &(coney_listener_retry){.max_attempts = 3});
    listening_send("fail");
    expect_parked(listening_other_queue("parking"), 3);
    listening_expect_nothing_left();
}

static void test_others_are_handled_while_the_queue_delays(void **state)
{
    (void)state;
    need_delays();
    start_delayed(&delaying, &(coney_listener_retry){0});
    listening_send("fail 1");
    listening_wait_for_calls(1);
    listening_send("ack");
    listening_wait_for_calls(3);
    assert_string_equal(listening.calls[1].text, "ack");
    assert_int_equal(listening.calls[2].attempt, 2);
}

/* With a delay of Coney's own seven returns would take six seconds at least. */
static void expect_no_other_delay(const char *text)
{
    enum { CALLS = 8, QUEUE_MS = 20 };
    coney_queue quick = delaying;
    quick.delayed_retry_min_ms = quick.delayed_retry_max_ms = QUEUE_MS;
    need_delays();
    start_delayed(&quick, &(coney_listener_retry){.max_attempts = CALLS});
    listening_send(text);
    test_wait_until(atomic_load(&listening.count) >= CALLS);
    int64_t began = listening.calls[0].at_ms;
    assert_true(listening.calls[CALLS - 1].at_ms - began < 1000 + test_slack_ms(began));
}

static void test_failed_message_waits_for_its_queue_only(void **state)
{
    (void)state;
    expect_no_other_delay("fail");
}

static void test_message_that_the_handler_requeues_waits_for_its_queue_only(void **state)
{
    (void)state;
    expect_no_other_delay("requeue");
}

static int end(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        delayed_test(test_broker_gets_the_times_of_a_quorum_queue),
        delayed_test(test_queue_is_refused_where_the_broker_would_ignore_a_field),
        delayed_test(test_delayed_retry_of_a_topology_is_refused_once_and_the_rest_is_declared),
        delayed_test(test_listener_of_a_queue_that_should_delay_fails_to_start_with_an_older_broker),
        delayed_test(test_listener_fails_to_start_if_a_topology_declares_its_queue_without_a_delay),
        delayed_test(test_listener_fails_to_start_if_a_topology_declares_its_queue_with_too_low_a_limit),
        delayed_test(test_queue_delays_attempts_and_then_the_message_is_parked),
        delayed_test(test_three_attempts_are_made_unless_told_otherwise),
        delayed_test(test_last_attempt_is_made_at_the_delivery_limit),
        delayed_test(test_others_are_handled_while_the_queue_delays),
        delayed_test(test_failed_message_waits_for_its_queue_only),
        delayed_test(test_message_that_the_handler_requeues_waits_for_its_queue_only),
    };
    return test_run_with_workers("delayed retry", tests, test_client_setup, end);
}
