/* SPDX-License-Identifier: MIT */
/* Closing a factory that is busy: preparing a connection, starting or stopping containers, carrying
 * the messages of several threads, or being closed already. It keeps its timeout, and what is closed stays
 * closed. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* What would be wrong here takes seconds, so a busy machine may be late. */
enum { LONG_MS = 10000, SHORT_MS = 300 };

static coney_status close_factory(void)
{
    return coney_connection_factory_close(fault.factory);
}

static coney_status start_container(void)
{
    return coney_container_start(fault.container);
}

/* --- while a connection is prepared --- */

static atomic_bool is_logging, may_log_on;

/* Holds up whoever logs a refused declaration, which is the recovery thread. */
static void hold_up_the_refusal(coney_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    if (!strstr(text, "PRECONDITION_FAILED"))
        return;
    atomic_store(&is_logging, true);
    fault_wait_until(atomic_load(&may_log_on));
}

static int restore_log(void **state)
{
    atomic_store(&may_log_on, true);
    int failed = fault_teardown(state);
    coney_log_set_sink(NULL, NULL);
    return failed;
}

static void refuse_the_exchange(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *declare = cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD);
    cny_peer_close_channel(peer, declare->channel, 406, "PRECONDITION_FAILED - inequivalent arg 'type'");
}

static void use_topology(void)
{
    coney_topology *topology = coney_topology_new();
    fault_expect_status(CONEY_OK, coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"}));
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static void test_connection_that_was_being_prepared_is_not_opened_after_the_close(void **state)
{
    (void)state;
    static coney_connection_info events[FAULT_MAX_EVENTS];
    atomic_store(&is_logging, false);
    atomic_store(&may_log_on, false);
    fault_start(refuse_the_exchange, &(coney_connection_factory_options){.close_timeout_ms = LONG_MS});
    coney_log_set_sink(hold_up_the_refusal, NULL);
    coney_log_set_level(CONEY_LOG_WARN);
    use_topology();
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_CONNECT, fault_send(1));
    fault_wait_until(atomic_load(&is_logging));
    fault_in_background(close_factory);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CLOSED);
    atomic_store(&may_log_on, true);
    fault_expect_status(CONEY_OK, fault_background_end());
    assert_int_equal(fault_info(CONEY_PUBLISHING).state, CONEY_CONNECTION_CLOSED);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 0);
    int count = fault_connection_events(CONEY_PUBLISHING, events);
    for (int i = 0; i < count; i++)
        assert_int_not_equal(events[i].state, CONEY_CONNECTION_OPEN);
}

/* --- while a container starts --- */

static void say_nothing_once_open(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_silence(peer, LONG_MS);
}

static void start_in_vain(int shutdown_timeout_ms)
{
    const coney_container_options options = {.start_timeout_ms = LONG_MS, .shutdown_timeout_ms = shutdown_timeout_ms};
    const coney_listener orders = {.queue = "orders", .on_message = fault_obey};
    fault_start(say_nothing_once_open, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    fault_in_background(start_container);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_OPEN);
}

/* The container is no reason to wait; the peer, which does not answer the close either, is one. */
static void test_close_ends_the_start_of_a_container(void **state)
{
    (void)state;
    start_in_vain(LONG_MS);
    int64_t began = cny_now_ms();
    close_factory();
    test_expect_elapsed(began, 0, SHORT_MS);
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    fault_expect_text("it was stopped meanwhile");
    test_expect_elapsed(began, 0, SHORT_MS);
}

static void test_stop_ends_the_start_of_a_container(void **state)
{
    (void)state;
    start_in_vain(LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    fault_expect_text("it was stopped meanwhile");
    test_expect_elapsed(began, 0, SHORT_MS);
}

static void let_a_consumer_in_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_basic_consume_ok_t ok = {amqp_cstring_bytes("late")};
    amqp_channel_t channel = consume->channel;
    cny_peer_wait_go(peer);
    cny_peer_send(peer, channel, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
}

static void test_container_that_is_stopped_while_it_starts_does_not_run_later(void **state)
{
    (void)state;
    const coney_container_options options = {.start_timeout_ms = LONG_MS, .shutdown_timeout_ms = LONG_MS};
    const coney_listener orders = {.queue = "orders", .on_message = fault_obey};
    fault_start(let_a_consumer_in_late, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    fault_in_background(start_container);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD) == 1);
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    fault_expect_text("it was stopped meanwhile");
    fault_expect_status(CONEY_E_STATE, coney_container_check(fault.container));
}

static void let_the_second_in_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD));
    let_a_consumer_in_late(peer, NULL);
    cny_peer_serve_until(peer, AMQP_CONNECTION_CLOSE_METHOD);
}

static void test_listener_that_goes_while_others_start_does_not_hold_them_up(void **state)
{
    (void)state;
    const coney_container_options options = {.start_timeout_ms = LONG_MS};
    fault_start(let_the_second_in_late, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    const coney_listener both[] = {{.id = "a", .queue = "orders", .on_message = fault_obey},
                                   {.id = "b", .queue = "orders", .on_message = fault_obey}};
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &both[0]));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &both[1]));
    fault_in_background(start_container);
    coney_health health = {0};
    fault_wait_until(coney_container_health(fault.container, &health) == CONEY_OK && health.consumers == 1);
    fault_expect_status(CONEY_OK, coney_container_unlisten(fault.container, "a"));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
}

/* --- while several containers stop --- */

enum { MOST_CONTAINERS = 20, PREFETCH = 2 };

static coney_container *containers[MOST_CONTAINERS];

static int free_containers(void **state)
{
    for (int i = 0; i < MOST_CONTAINERS; i++) {
        coney_container_free(containers[i]);
        containers[i] = NULL;
    }
    return fault_teardown(state);
}

/* Each consumer gets as many as it may, and one more for each acknowledgement until it is cancelled. */
static void deliver_for_ever(cny_peer *peer, void *user)
{
    const int *consumers = user;
    uint64_t delivered[MOST_CONTAINERS + 1] = {0};
    bool cancelled[MOST_CONTAINERS + 1] = {false};
    for (int i = 0; i < *consumers; i++) {
        amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
        cny_peer_check(peer, channel <= MOST_CONTAINERS);
        while (delivered[channel] < PREFETCH)
            cny_peer_deliver(peer, channel, ++delivered[channel], "hold");
    }
    for (int left = *consumers; left > 0;) {
        cny_peer_method *method = cny_peer_next(peer);
        amqp_channel_t channel = method->channel;
        if (method->id == AMQP_BASIC_ACK_METHOD && !cancelled[channel])
            cny_peer_deliver(peer, channel, ++delivered[channel], "hold");
        left -= method->id == AMQP_BASIC_CANCEL_METHOD;
        cancelled[channel] |= method->id == AMQP_BASIC_CANCEL_METHOD;
        cny_peer_answer(peer, method);
    }
}

static void start_containers(int count, int close_timeout_ms)
{
    static int consumers;
    const coney_container_options options = {.shutdown_timeout_ms = LONG_MS};
    const coney_listener listener = {.queue = "orders", .on_message = fault_obey, .prefetch = PREFETCH};
    consumers = count;
    fault_reset_handler();
    fault_start_with(&(cny_broker_options){.script = deliver_for_ever, .user = &consumers},
                     &(coney_connection_factory_options){.close_timeout_ms = close_timeout_ms});
    for (int i = 0; i < count; i++) {
        fault_expect_status(CONEY_OK, coney_container_new(&containers[i], fault.factory, &options));
        fault_expect_status(CONEY_OK, coney_container_listen(containers[i], &listener));
        fault_expect_status(CONEY_OK, coney_container_start(containers[i]));
    }
    fault_wait_for_calls(count);
}

static void let_go(int count)
{
    for (int i = 0; i < count; i++)
        fault_let_go();
}

/* Though no handler has returned yet, which is what the first container waits for. */
static void test_close_stops_all_containers_at_the_same_time(void **state)
{
    (void)state;
    enum { COUNT = 2 };
    start_containers(COUNT, LONG_MS);
    fault_in_background(close_factory);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == COUNT);
    assert_int_equal(fault_handler_calls(), COUNT);
    let_go(COUNT * PREFETCH);
    fault_expect_status(CONEY_OK, fault_background_end());
    assert_int_equal(fault_handler_calls(), COUNT * PREFETCH);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_ACK_METHOD), COUNT * PREFETCH);
}

static void test_handlers_that_hang_in_many_containers_cost_the_close_its_timeout_once(void **state)
{
    (void)state;
    enum { CLOSE_MS = 500, ALLOWED_MS = 500 }; /* one after the other they would take 50 ms more each */
    start_containers(MOST_CONTAINERS, CLOSE_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, close_factory());
    test_expect_elapsed(began, CLOSE_MS, CLOSE_MS + ALLOWED_MS);
    let_go(MOST_CONTAINERS);
    fault_wait_until(fault_info(CONEY_CONSUMING).stale_acknowledgements == MOST_CONTAINERS);
}

/* --- while several threads send --- */

enum { SENDERS = 3, MOST_SENDS = 100000 };

typedef struct sender {
    pthread_t thread;
    int accepted;
    coney_status end; /* why it stopped */
    atomic_uchar completed[MOST_SENDS];
} sender;

static sender senders[SENDERS];
static atomic_int confirmed, completed_otherwise;

static void count_completion(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    atomic_fetch_add((atomic_uchar *)user, 1);
    if (!error)
        atomic_fetch_add(&confirmed, 1);
    else if (error->status != CONEY_E_CLOSED)
        atomic_fetch_add(&completed_otherwise, 1);
}

static void *send_until_closed(void *argument)
{
    sender *self = argument;
    coney_message *message;
    self->end = coney_message_new(&message, "hello", 5, NULL);
    for (self->accepted = 0; self->end == CONEY_OK && self->accepted < MOST_SENDS;) {
        atomic_uchar *completed = &self->completed[self->accepted];
        self->end = coney_template_send_async(fault.sender, "key", message, NULL, count_completion, completed);
        self->accepted += self->end == CONEY_OK;
    }
    coney_message_unref(message);
    return NULL;
}

static void expect_each_completed_once(const sender *one)
{
    for (int i = 0; i < MOST_SENDS; i++) {
        int times = atomic_load(&one->completed[i]);
        if (times != (i < one->accepted))
            fail_msg("send %d of %d accepted was completed %d times", i, one->accepted, times);
    }
}

/* Leaves the last message unconfirmed, so that there always is one as long as they come. */
static void confirm_one_behind(cny_peer *peer, void *user)
{
    (void)user;
    enum { QUIET_MS = 100 };
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    uint64_t last = 1;
    while (cny_peer_hears(peer, QUIET_MS)) {
        last = cny_peer_expect(peer, AMQP_BASIC_PUBLISH_METHOD)->number;
        cny_peer_ack(peer, channel, last - 1, false);
    }
    cny_peer_ack(peer, channel, last, false);
}

static void test_close_ends_under_the_steady_traffic_of_several_threads(void **state)
{
    (void)state;
    atomic_store(&confirmed, 0);
    atomic_store(&completed_otherwise, 0);
    memset(senders, 0, sizeof senders);
    fault_start(confirm_one_behind, &(coney_connection_factory_options){.close_timeout_ms = 5000});
    fault_use_template(&(coney_template_options){.max_unconfirmed = 200});
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_until_closed, &senders[i]), 0);
    int64_t give_up = cny_now_ms() + CNY_PATIENCE_MS;
    while (atomic_load(&confirmed) < 500 && cny_now_ms() < give_up)
        poll(NULL, 0, 1);
    int64_t began = cny_now_ms();
    coney_status status = close_factory();
    int64_t elapsed = cny_now_ms() - began, allowed = 2000 + test_slack_ms(began);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    fault_expect_status(CONEY_OK, status);
    assert_int_in_range(elapsed, 0, allowed);
    assert_true(atomic_load(&confirmed) >= 500);
    assert_int_equal(atomic_load(&completed_otherwise), 0);
    for (int i = 0; i < SENDERS; i++) {
        assert_int_equal(senders[i].end, CONEY_E_CLOSED);
        expect_each_completed_once(&senders[i]);
    }
}

/* --- while it is being closed --- */

static atomic_bool is_told, is_closed_again, is_over;

/* The first close waits for this; it takes long enough for another one that does not wait to return. */
static void dawdle_when_closed(const coney_connection_info *info, void *user)
{
    (void)user;
    if (info->state != CONEY_CONNECTION_CLOSED || info->role != CONEY_CONSUMING)
        return;
    atomic_store(&is_told, true);
    fault_wait_until(atomic_load(&is_closed_again));
    poll(NULL, 0, 50);
    atomic_store(&is_over, true);
}

static void test_another_close_returns_only_after_the_first_is_done(void **state)
{
    (void)state;
    const coney_connection_factory_options options = {.close_timeout_ms = LONG_MS, .on_connection = dawdle_when_closed};
    atomic_store(&is_told, false);
    atomic_store(&is_closed_again, false);
    atomic_store(&is_over, false);
    fault_start(NULL, &options);
    fault_in_background(close_factory);
    fault_wait_until(atomic_load(&is_told));
    atomic_store(&is_closed_again, true);
    fault_expect_status(CONEY_OK, close_factory());
    assert_true(atomic_load(&is_over));
    fault_expect_status(CONEY_OK, fault_background_end());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_connection_that_was_being_prepared_is_not_opened_after_the_close, restore_log),
        fault_test(test_close_ends_the_start_of_a_container),
        fault_test(test_stop_ends_the_start_of_a_container),
        fault_test(test_container_that_is_stopped_while_it_starts_does_not_run_later),
        fault_test(test_listener_that_goes_while_others_start_does_not_hold_them_up),
        cmocka_unit_test_teardown(test_close_stops_all_containers_at_the_same_time, free_containers),
        cmocka_unit_test_teardown(test_handlers_that_hang_in_many_containers_cost_the_close_its_timeout_once,
                                  free_containers),
        fault_test(test_close_ends_under_the_steady_traffic_of_several_threads),
        fault_test(test_another_close_returns_only_after_the_first_is_done),
    };
    return cmocka_run_group_tests_name("close busy", tests, NULL, NULL);
}
