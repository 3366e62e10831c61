/* SPDX-License-Identifier: MIT */
/* A topology of which the broker gives no answer to a part, and over which the broker closes the connection in the end,
 * as RabbitMQ 4.3 does on a node without a majority; and one with many things over which the broker closes the
 * connection at once. All the others are to be declared, consumed from and published to. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    BINDINGS = 200,
    CLOSED_MS = 6000, /* after a request that has no answer */
    WATCHED_MS = CLOSED_MS + 2000,
    SOON_MS = 8000,
    SHORT_MS = 500,
    LONG_MS = 30000,
    STUCK = 20,
    PATIENCE_MS = 3000,
    DEADLY = 20,
    MOST_CHANNELS = 100,
};

static cny_heard all[CNY_MAX_HEARD];

static bool is_of_queue(amqp_bytes_t queue, const char *prefix)
{
    return queue.len >= strlen(prefix) && memcmp(queue.bytes, prefix, strlen(prefix)) == 0;
}

static int count_heard(amqp_method_number_t id, const char *what)
{
    int count = cny_broker_heard(fault.broker, all), heard = 0;
    for (int i = 0; i < count; i++)
        heard += all[i].id == id && strcmp(all[i].what, what) == 0;
    return heard;
}

/* --- what is declared --- */

static int found;

static void count_declared(const coney_declaration *declaration, void *user)
{
    (void)user;
    found += declaration->state == CONEY_DECLARATION_DECLARED;
}

static int declared(void)
{
    found = 0;
    fault_expect_status(CONEY_OK, coney_connection_factory_list_declarations(fault.factory, count_declared, NULL));
    return found;
}

static coney_topology *make_bound(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "orders"});
    for (int i = 0; i < BINDINGS; i++) {
        char key[32];
        snprintf(key, sizeof key, "key.%d", i);
        coney_topology_bind(topology, "shop", "orders", key);
    }
    return topology;
}

static void use_topology(coney_topology *topology, int timeout_ms)
{
    const coney_admin_options options = {.topology = topology, .timeout_ms = timeout_ms};
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &options);
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static void listen_to(const char *queue)
{
    fault_expect_status(
        CONEY_OK, coney_container_listen(fault.container, &(coney_listener){.queue = queue, .on_message = fault_obey}));
}

static void use_listener(void)
{
    fault_reset_handler();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory,
                                                      &(coney_container_options){.start_timeout_ms = LONG_MS}));
    listen_to("others");
}

static int consumers(void)
{
    coney_health health;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    return health.consumers;
}

/* --- bindings without an answer --- */

static atomic_bool has_majority;

static bool has_no_answer(const cny_peer_method *method)
{
    bool is_stuck_queue =
        method->id == AMQP_QUEUE_DECLARE_METHOD && is_of_queue(((amqp_queue_declare_t *)method->args)->queue, "stuck");
    return !atomic_load(&has_majority) && (method->id == AMQP_QUEUE_BIND_METHOD || is_stuck_queue);
}

/* Nothing is answered on the channel of such a thing. Returns so long after the first of them. */
static bool serve_the_others(cny_peer *peer, int closes_after_ms)
{
    int64_t closes_at = INT64_MAX;
    bool is_stuck[MOST_CHANNELS] = {false};
    while (cny_now_ms() < closes_at) {
        if (!cny_peer_hears(peer, 50))
            continue;
        const cny_peer_method *method = cny_peer_next(peer);
        bool hangs = has_no_answer(method);
        if (hangs && closes_at == INT64_MAX)
            closes_at = cny_now_ms() + closes_after_ms;
        is_stuck[method->channel] |= hangs;
        if (!is_stuck[method->channel])
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return false;
    }
    return true;
}

/* After a while the connection is closed. */
static void give_bindings_no_answer(cny_peer *peer, void *user)
{
    (void)user;
    if (serve_the_others(peer, CLOSED_MS))
        cny_peer_close_connection_over(peer, AMQP_QUEUE_BIND_METHOD, 541, "INTERNAL_ERROR - timeout");
}

static void give_no_answer(cny_peer *peer, void *user)
{
    (void)user;
    serve_the_others(peer, INT32_MAX);
}

/* A heartbeat would keep the script from looking at the clock. */
static void start(cny_script *script)
{
    atomic_store(&has_majority, false);
    fault_start_with(&(cny_broker_options){.script = script, .may_hang_up = true},
                     &(coney_connection_factory_options){.heartbeat_s = 60});
}

static void test_listeners_consume_undisturbed_though_no_binding_is_answered(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    use_topology(make_bound(), LONG_MS);
    use_listener();
    listen_to("orders");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    test_expect_elapsed(began, 0, SOON_MS);
    assert_int_equal(consumers(), 2);
    poll(NULL, 0, WATCHED_MS);
    assert_int_equal(consumers(), 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void test_publishers_publish_undisturbed_though_no_binding_is_answered(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    use_topology(make_bound(), LONG_MS);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    poll(NULL, 0, WATCHED_MS);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
}

static void test_all_bindings_are_made_soon_after_the_broker_answers_again(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    use_topology(make_bound(), SHORT_MS);
    use_listener();
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    poll(NULL, 0, WATCHED_MS);
    atomic_store(&has_majority, true);
    int64_t began = cny_now_ms();
    fault_wait_until(declared() == BINDINGS + 2);
    test_expect_elapsed(began, 0, SOON_MS);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

/* The late close takes the connection that all use, but only once. */
static void test_bindings_that_come_later_cost_a_connection_in_use_once(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    use_listener();
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    use_topology(make_bound(), SHORT_MS);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    poll(NULL, 0, WATCHED_MS);
    assert_int_equal(consumers(), 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 2);
}

static void test_asking_to_declare_ends_with_the_first_thing_that_has_no_answer(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    coney_topology *topology = make_bound();
    const coney_admin_options options = {.topology = topology, .timeout_ms = SHORT_MS, .no_auto_declare = true};
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &options);
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_admin_declare(fault.admin));
    fault_expect_text("routing key 'key.0': no answer from the broker within 500 ms");
    test_expect_elapsed(began, SHORT_MS, 3 * SHORT_MS);
}

/* --- a queue that is there, after many without an answer --- */

static void use_stuck_queues_before_orders(int timeout_ms)
{
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < STUCK; i++) {
        char name[32];
        snprintf(name, sizeof name, "stuck.%d", i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name});
    }
    coney_topology_add_queue(topology, &(coney_queue){.name = "orders"});
    use_topology(topology, timeout_ms);
}

static void test_listener_consumes_though_many_queues_before_its_own_have_no_answer(void **state)
{
    (void)state;
    start(give_no_answer);
    use_stuck_queues_before_orders(10000);
    use_listener();
    listen_to("orders");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_wait_until(consumers() == 2);
    test_expect_elapsed(began, 0, SOON_MS);
}

/* An answer takes longer to wait for than the first pause, so those without one are due again all the time. */
static void test_each_queue_is_declared_before_those_without_an_answer_are_tried_again(void **state)
{
    (void)state;
    start(give_no_answer);
    use_stuck_queues_before_orders(PATIENCE_MS);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    int64_t began = cny_now_ms();
    fault_wait_until(declared() == 1);
    test_expect_elapsed(began, 0, 5 * PATIENCE_MS);
}

/* It would fail for a queue that is only not declared yet. */
static void test_listener_whose_missing_queue_is_fatal_waits_for_its_declaration(void **state)
{
    (void)state;
    start(give_no_answer);
    use_stuck_queues_before_orders(LONG_MS);
    fault_reset_handler();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory,
                                                      &(coney_container_options){.start_timeout_ms = CLOSED_MS}));
    fault_expect_status(CONEY_OK,
                        coney_container_listen(fault.container, &(coney_listener){.queue = "stuck.1",
                                                                                  .on_message = fault_obey,
                                                                                  .missing_queue_is_fatal = true}));
    fault_expect_status(CONEY_E_TIMEOUT, coney_container_start(fault.container));
    fault_expect_text("consume from queue 'stuck.1': the broker has not answered its declaration yet");
    assert_int_equal(count_heard(AMQP_BASIC_CONSUME_METHOD, "stuck.1"), 0);
}

/* --- an exclusive queue beside a thing without an answer --- */

/* It comes after the other one on the same channel. So it is declared on the isolated connection, where that shows that
 * it does no harm, and then where it belongs. */
static void test_exclusive_queue_is_declared_though_another_thing_has_no_answer(void **state)
{
    (void)state;
    start(give_bindings_no_answer);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = "stuck"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "mine", .exclusive = true});
    use_topology(topology, LONG_MS);
    use_listener();
    listen_to("mine");
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_wait_until(consumers() == 2);
    assert_int_equal(count_heard(AMQP_QUEUE_DECLARE_METHOD, "mine"), 3);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void lock_on_the_isolated_connection(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    while (cny_peer_is_isolated(peer)) {
        const cny_peer_method *method = cny_peer_next(peer);
        bool is_mine = method->id == AMQP_QUEUE_DECLARE_METHOD &&
                       is_of_queue(((amqp_queue_declare_t *)method->args)->queue, "mine");
        if (is_mine)
            cny_peer_close_channel(peer, method->channel, 405, "RESOURCE_LOCKED - cannot obtain exclusive access");
        else if (!has_no_answer(method))
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
    serve_the_others(peer, INT32_MAX);
}

static atomic_int refusals;

static void count_refusals(const coney_declaration *news, void *user)
{
    (void)user;
    if (news->state != CONEY_DECLARATION_DECLARED && strcmp(news->name, "mine") == 0)
        atomic_fetch_add(&refusals, 1);
}

/* The consuming connection may have it already. */
static void test_exclusive_queue_that_is_locked_on_the_isolated_connection_is_not_refused(void **state)
{
    (void)state;
    atomic_store(&has_majority, false);
    atomic_store(&refusals, 0);
    fault_start_with(&(cny_broker_options){.script = lock_on_the_isolated_connection, .may_hang_up = true},
                     &(coney_connection_factory_options){.heartbeat_s = 60, .on_declaration = count_refusals});
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = "stuck"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "mine", .exclusive = true});
    use_topology(topology, LONG_MS);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_wait_until(declared() == 1);
    assert_int_equal(atomic_load(&refusals), 0);
}

/* --- many things that close the connection --- */

static void close_over_deadly_queues(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_QUEUE_DECLARE_METHOD &&
            is_of_queue(((amqp_queue_declare_t *)method->args)->queue, "deadly"))
            break;
        cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
    cny_peer_close_connection_over(peer, AMQP_QUEUE_DECLARE_METHOD, 541, "INTERNAL_ERROR - deprecated");
}

static void test_many_things_that_close_the_connection_cost_it_twice(void **state)
{
    (void)state;
    start(close_over_deadly_queues);
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < 2 * DEADLY; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s.%d", i % 2 == 0 ? "deadly" : "fine", i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name});
    }
    use_topology(topology, LONG_MS);
    use_listener();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_wait_until(declared() == DEADLY);
    test_expect_elapsed(began, 0, SOON_MS);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(consumers(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_listeners_consume_undisturbed_though_no_binding_is_answered),
        fault_test(test_publishers_publish_undisturbed_though_no_binding_is_answered),
        fault_test(test_all_bindings_are_made_soon_after_the_broker_answers_again),
        fault_test(test_bindings_that_come_later_cost_a_connection_in_use_once),
        fault_test(test_asking_to_declare_ends_with_the_first_thing_that_has_no_answer),
        fault_test(test_listener_consumes_though_many_queues_before_its_own_have_no_answer),
        fault_test(test_each_queue_is_declared_before_those_without_an_answer_are_tried_again),
        fault_test(test_listener_whose_missing_queue_is_fatal_waits_for_its_declaration),
        fault_test(test_exclusive_queue_is_declared_though_another_thing_has_no_answer),
        fault_test(test_exclusive_queue_that_is_locked_on_the_isolated_connection_is_not_refused),
        fault_test(test_many_things_that_close_the_connection_cost_it_twice),
    };
    return cmocka_run_group_tests_name("unanswered", tests, NULL, NULL);
}
