/* SPDX-License-Identifier: MIT */
/* What messages, queues and handlers can do to a listener that nobody means to: none of it may lose a message,
 * multiply it, or send it round at full speed. */
#include "base/base.h"
#include "support/listening.h"

/* ---- messages ---- */

/* The default exchange, through which a copy goes, heeds CC: it would come to its queue and to the rung. */
static void test_message_that_came_as_a_copy_does_not_multiply_on_the_ladder(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    listening_other_queue("retry.50");
    coney_array *copies = coney_array_new();
    coney_table *headers = coney_table_new();
    const coney_value own = coney_value_string(listening.queue);
    assert_ok(coney_array_append(copies, &own));
    assert_ok(coney_table_set_array(headers, "CC", copies));
    listening_start(&(coney_listener){.retry = {.delays_ms = {50}}});
    listening_send_to("", listening_make_other_queue("original"), "fail", &(coney_properties){.headers = headers});
    test_wait_for_depth(parking, 1);
    listening_stop();
    assert_int_equal(listening.count, 2);
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(parking, 1);
    coney_table_free(headers);
    coney_array_free(copies);
}

static void add_death(coney_array *deaths)
{
    coney_table *death = coney_table_new();
    assert_ok(coney_table_set_string(death, "queue", listening.queue));
    assert_ok(coney_table_set_string(death, "reason", "rejected"));
    assert_ok(coney_table_set_int64(death, "count", INT32_MAX / 4 - 1));
    const coney_value value = {.type = CONEY_TABLE, .as.table = death};
    assert_ok(coney_array_append(deaths, &value));
    coney_table_free(death);
}

static void test_counts_that_are_lies_do_not_overflow(void **state)
{
    (void)state;
    coney_array *deaths = coney_array_new();
    coney_table *headers = coney_table_new();
    for (int i = 0; i < 20; i++)
        add_death(deaths);
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_ATTEMPTS, INT32_MAX / 4 - 1));
    listening_start(&(coney_listener){0});
    listening_send_with("ack", &(coney_properties){.headers = headers});
    listening_wait_for_calls(1);
    assert_in_range(listening.calls[0].attempt, 1, INT32_MAX / 2);
    coney_table_free(headers);
    coney_array_free(deaths);
}

/* ---- the program's code ---- */

static atomic_int processed;

static coney_status have_no_memory(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message, (void)exchange, (void)routing_key, (void)user;
    atomic_fetch_add(&processed, 1);
    return CONEY_E_NO_MEMORY;
}

static void test_message_without_memory_for_it_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    const coney_processor processor = {.name = "none", .process = have_no_memory};
    atomic_store(&processed, 0);
    listening_start(&(coney_listener){0});
    assert_ok(coney_container_add_after_receive(listening.container, &processor));
    listening_send("ack");
    test_wait_until(atomic_load(&processed) >= 4); /* which takes 100, 200 and 400 ms */
    assert_in_range(atomic_load(&processed), 4, 5);
    assert_ok(coney_container_remove_after_receive(listening.container, "none"));
    listening_wait_for_calls(1);
}

static coney_status settled_in_on_error;

static coney_outcome settle_what_failed(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                        void *user)
{
    (void)error, (void)user;
    settled_in_on_error = coney_delivery_settle(delivery, CONEY_ACK);
    return outcome;
}

static void test_error_handler_cannot_settle(void **state)
{
    (void)state;
    settled_in_on_error = CONEY_OK;
    listening_start(&(coney_listener){
        .converter = coney_json_converter(), .on_error = settle_what_failed, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_send("{");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(settled_in_on_error, CONEY_E_STATE);
    assert_ok(coney_container_check(listening.container)); /* the broker has had no reason to complain */
}

static atomic_int inside, most_inside;

static coney_outcome fail_first(coney_delivery *delivery, void *user)
{
    (void)user;
    int now = atomic_fetch_add(&inside, 1) + 1;
    if (now > atomic_load(&most_inside))
        atomic_store(&most_inside, now);
    listening_note(delivery);
    for (int64_t until = cny_now_ms() + 30; cny_now_ms() < until;)
        ;
    atomic_fetch_sub(&inside, 1);
    return coney_delivery_attempt(delivery) == 1 ? CONEY_RETRY : CONEY_ACK;
}

static void bind(const char *routing_key)
{
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    assert_ok(coney_topology_bind(topology, "amq.direct", listening.queue, routing_key));
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    assert_ok(coney_admin_declare(admin));
    coney_admin_free(admin);
    coney_topology_free(topology);
}

/* It comes back with the name of its queue as its routing key. */
static void test_message_comes_back_from_the_ladder_to_the_lane_of_its_key(void **state)
{
    (void)state;
    enum { MESSAGES = 8 };
    listening_other_queue("retry.20");
    listening_other_queue("parking");
    bind("one key");
    atomic_store(&most_inside, 0);
    listening_start(&(coney_listener){.on_message = fail_first, .lanes = 8, .retry = {.delays_ms = {20}}});
    for (int i = 0; i < MESSAGES; i++)
        listening_send_to("amq.direct", "one key", "text", NULL);
    listening_wait_for_calls(2 * MESSAGES);
    assert_int_equal(atomic_load(&most_inside), 1);
}

/* ---- queues ---- */

static void test_starting_a_listener_tells_that_its_queue_is_missing(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    assert_ok(coney_container_listen(listening.container, &(coney_listener){.queue = "no-such-queue",
                                                                            .on_message = listening_obey,
                                                                            .missing_queue_is_fatal = true,
                                                                            .no_auto_start = true}));
    assert_fails(coney_container_start_listener(listening.container, "no-such-queue"), CONEY_E_NOT_FOUND,
                 "no-such-queue");
}

static bool is_waiting_for_lock(void)
{
    return coney_container_check(listening.container) == CONEY_E_RESOURCE_LOCKED;
}

/* The connection that has it may be a dead one of our own, which the broker has not noticed yet. */
static void test_exclusive_queue_of_another_connection_is_waited_for(void **state)
{
    (void)state;
    coney_connection_factory *other;
    coney_admin *owner;
    const char *name = listening_other_queue("exclusive");
    const coney_queue queue = {.name = name, .exclusive = true};
    assert_ok(coney_connection_factory_new(&other, test_uri(), NULL));
    assert_ok(coney_admin_new(&owner, other, NULL));
    assert_ok(coney_admin_declare_queue(owner, &queue, NULL));
    assert_ok(coney_container_new(&listening.container, client.factory,
                                  &(coney_container_options){.recovery_interval_ms = 200}));
    assert_ok(coney_container_listen(listening.container,
                                     &(coney_listener){.declare = &queue, .on_message = listening_obey}));
    assert_ok(coney_container_start(listening.container));
    test_wait_until(is_waiting_for_lock());
    coney_admin_free(owner);
    coney_connection_factory_free(other);
    test_wait_until(coney_container_check(listening.container) == CONEY_OK);
    coney_container_free(listening.container);
    listening.container = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_message_that_came_as_a_copy_does_not_multiply_on_the_ladder),
        listening_test(test_counts_that_are_lies_do_not_overflow),
        listening_test(test_message_without_memory_for_it_does_not_go_round_at_full_speed),
        listening_test(test_error_handler_cannot_settle),
        listening_test(test_message_comes_back_from_the_ladder_to_the_lane_of_its_key),
        listening_test(test_starting_a_listener_tells_that_its_queue_is_missing),
        listening_test(test_exclusive_queue_of_another_connection_is_waited_for),
    };
    return test_run_with_workers("traps of listening", tests, test_client_setup, test_client_teardown);
}
