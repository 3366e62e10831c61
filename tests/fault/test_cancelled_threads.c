/* SPDX-License-Identifier: MIT */
/* pthread_cancel(): a call of Coney is completed or not begun, so no lock stays held and nothing stays half made. A
 * cancellation that is pending acts at the program's next cancellation point after the call. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { LONG_MS = 10000, STORM_MS = 1500, STORM_THREADS = 8 };

/* ---- a thread that is cancelled ---- */

typedef struct victim {
    pthread_t thread;
    coney_status (*call)(void);
    bool is_cancelled_before; /* else the test cancels it */
    coney_status status;
    atomic_bool has_returned;
} victim;

static void *make_call(void *argument)
{
    victim *one = argument;
    if (one->is_cancelled_before)
        pthread_cancel(pthread_self());
    one->status = one->call();
    atomic_store(&one->has_returned, true);
    pthread_testcancel();
    return NULL;
}

static void begin(victim *one, coney_status (*call)(void), bool is_cancelled_before)
{
    *one = (victim){.call = call, .is_cancelled_before = is_cancelled_before, .status = CONEY_E_SYSTEM};
    assert_int_equal(pthread_create(&one->thread, NULL, make_call, one), 0);
}

static void *join(pthread_t thread)
{
    struct timespec until;
    void *result = NULL;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CNY_PATIENCE_MS / 1000;
    assert_int_equal(pthread_timedjoin_np(thread, &result, &until), 0);
    return result;
}

/* The call has done what it does, and then the thread was cancelled. */
static void expect_completed(victim *one)
{
    void *result = join(one->thread);
    assert_true(atomic_load(&one->has_returned));
    assert_int_equal(one->status, CONEY_OK);
    assert_ptr_equal(result, PTHREAD_CANCELED);
}

static void expect_others_to_go_on(void)
{
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_ask());
}

/* A lock that is held for ever would hold up the test's end as well. */
static int set_alarm(void **state)
{
    (void)state;
    alarm(250);
    return 0;
}

/* ---- calls that wait ---- */

static void confirm_when_told(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer))
        return;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 1, false);
}

static void cancel_while_publishing(coney_status (*call)(void))
{
    victim one;
    fault_start(confirm_when_told, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    begin(&one, call, false);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    pthread_cancel(one.thread);
    poll(NULL, 0, 20);
    cny_broker_go(fault.broker);
    expect_completed(&one);
    expect_others_to_go_on();
}

static coney_status send(void)
{
    return fault_send(LONG_MS);
}

static void test_send_that_waits_for_its_confirm_is_completed(void **state)
{
    (void)state;
    cancel_while_publishing(send);
}

static coney_status send_and_wait(void)
{
    coney_confirmation *confirmation = NULL;
    coney_message *message = NULL;
    coney_status status = coney_message_new(&message, "hello", 5, NULL);
    if (status == CONEY_OK)
        status = coney_template_begin_send(fault.sender, &confirmation, "key", message, NULL);
    if (status == CONEY_OK)
        status = coney_confirmation_wait(confirmation, LONG_MS);
    coney_confirmation_free(confirmation);
    coney_message_unref(message);
    return status;
}

static void test_wait_for_a_confirmation_is_completed(void **state)
{
    (void)state;
    cancel_while_publishing(send_and_wait);
}

static coney_status receive(void)
{
    coney_message *message = NULL;
    coney_status status = coney_template_receive(fault.sender, "orders", &message, LONG_MS);
    coney_message_unref(message);
    return status;
}

static void deliver_when_told(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        return;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
}

static void test_receive_that_waits_is_completed(void **state)
{
    (void)state;
    victim one;
    fault_start(deliver_when_told, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    begin(&one, receive, false);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD) == 1);
    pthread_cancel(one.thread);
    poll(NULL, 0, 20);
    cny_broker_go(fault.broker);
    expect_completed(&one);
    expect_others_to_go_on();
}

static void stall_until_told(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0)
        cny_peer_stall_until_go(peer);
}

static coney_status connect_factory(void)
{
    return coney_connection_factory_connect(fault.factory);
}

static void test_connect_is_completed(void **state)
{
    (void)state;
    victim one;
    fault_start(stall_until_told, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    begin(&one, connect_factory, false);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING);
    pthread_cancel(one.thread);
    poll(NULL, 0, 20);
    cny_broker_go(fault.broker);
    expect_completed(&one);
    expect_others_to_go_on();
}

static void deliver_one_to_hold(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0)
        cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "hold");
}

static coney_status stop_container(void)
{
    return coney_container_stop(fault.container);
}

static void test_stop_that_waits_for_a_handler_is_completed(void **state)
{
    (void)state;
    victim one;
    fault_consume(deliver_one_to_hold, NULL, 1);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_wait_for_calls(1);
    begin(&one, stop_container, false);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == 1);
    pthread_cancel(one.thread);
    poll(NULL, 0, 20);
    fault_let_go();
    expect_completed(&one);
    expect_others_to_go_on();
}

/* ---- the program's code within a call ---- */

static atomic_int passed; /* cancellation points of the program within calls */

static coney_status pass(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    pthread_testcancel();
    atomic_fetch_add(&passed, 1);
    return CONEY_OK;
}

static coney_status send_through_a_processor(void)
{
    const coney_processor processor = {.name = "pass", .process = pass};
    coney_status status = coney_template_add_before_publish(fault.sender, &processor);
    return status == CONEY_OK ? fault_send(LONG_MS) : status;
}

static void log_nothing(coney_log_level level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (void)user;
    pthread_testcancel();
    atomic_fetch_add(&passed, 1);
}

/* Its factory logs that amqp:// shows the password to the network. */
static coney_status make_factory_that_warns(void)
{
    coney_connection_factory *factory;
    coney_log_set_level(CONEY_LOG_WARN);
    coney_log_set_sink(log_nothing, NULL);
    coney_status status = coney_connection_factory_new(&factory, "amqp://192.0.2.1", NULL);
    coney_connection_factory_free(factory);
    coney_log_set_sink(NULL, NULL);
    coney_log_set_level(CONEY_LOG_OFF);
    return status;
}

static void expect_to_pass(coney_status (*call)(void))
{
    victim one;
    atomic_store(&passed, 0);
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    begin(&one, call, true);
    expect_completed(&one);
    assert_true(atomic_load(&passed) > 0);
    expect_others_to_go_on();
}

static void test_processor_is_not_cancelled(void **state)
{
    (void)state;
    expect_to_pass(send_through_a_processor);
}

static void test_log_sink_in_a_call_is_not_cancelled(void **state)
{
    (void)state;
    expect_to_pass(make_factory_that_warns);
}

/* ---- Coney's own threads ---- */

static void cancel_myself(void)
{
    pthread_cancel(pthread_self());
    pthread_testcancel();
    atomic_fetch_add(&passed, 1);
}

static void cancel_in_callback(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)error;
    (void)user;
    cancel_myself();
}

static void test_callback_cannot_cancel_the_events_thread(void **state)
{
    (void)state;
    atomic_store(&passed, 0);
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    coney_message *message = fault_message("hello");
    for (int i = 0; i < 2; i++)
        fault_expect_status(CONEY_OK,
                            coney_template_send_async(fault.sender, "key", message, NULL, cancel_in_callback, NULL));
    coney_message_unref(message);
    fault_wait_for_confirms();
    assert_int_equal(atomic_load(&passed), 2);
    expect_others_to_go_on();
}

static coney_outcome cancel_in_handler(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    cancel_myself();
    return CONEY_ACK;
}

static void deliver_two(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) != 0)
        return;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "one");
    cny_peer_deliver(peer, channel, 2, "two");
}

static void test_handler_cannot_cancel_its_worker(void **state)
{
    (void)state;
    atomic_store(&passed, 0);
    fault_start(deliver_two, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_use_container(NULL, cancel_in_handler, 1);
    fault_wait_until(atomic_load(&passed) == 2);
    expect_others_to_go_on();
}

/* ---- many at once ---- */

static coney_status send_async(void)
{
    coney_message *message = NULL;
    coney_status status = coney_message_new(&message, "hello", 5, NULL);
    if (status == CONEY_OK)
        status = coney_template_send_async(fault.sender, "key", message, NULL, NULL, NULL);
    coney_message_unref(message);
    return status;
}

static coney_status look(void)
{
    coney_message *message = NULL;
    coney_status status = coney_template_receive(fault.sender, "orders", &message, 0);
    coney_message_unref(message);
    return status;
}

static coney_status use_template_of_its_own(void)
{
    coney_template *sender = NULL;
    coney_message *message = NULL;
    coney_status status = coney_template_new(&sender, fault.factory, NULL);
    if (status == CONEY_OK)
        status = coney_message_new(&message, "hello", 5, NULL);
    if (status == CONEY_OK)
        status = coney_template_send(sender, "key", message, NULL);
    coney_message_unref(message);
    coney_template_free(sender);
    return status;
}

static coney_status use_container_of_its_own(void)
{
    coney_container *container = NULL;
    coney_listener orders = {.queue = "orders", .on_message = fault_obey};
    coney_status status = coney_container_new(&container, fault.factory, NULL);
    if (status == CONEY_OK)
        status = coney_container_listen(container, &orders);
    if (status == CONEY_OK)
        status = coney_container_start(container);
    if (status == CONEY_OK)
        status = coney_container_stop(container);
    coney_container_free(container);
    return status;
}

static coney_status use_scope(void)
{
    coney_scope *scope = NULL;
    coney_message *message = NULL;
    coney_status status = coney_scope_new(&scope, fault.sender, NULL);
    if (status == CONEY_OK)
        status = coney_message_new(&message, "hello", 5, NULL);
    if (status == CONEY_OK)
        status = coney_scope_send(scope, "key", message, NULL);
    if (status == CONEY_OK)
        status = coney_scope_wait_for_confirms(scope, LONG_MS);
    coney_message_unref(message);
    coney_scope_free(scope);
    return status;
}

static atomic_int failures;

static void *call_again_and_again(void *argument)
{
    static coney_status (*const calls[])(void) = {send,      send_async,      send_and_wait,
                                                  look,      fault_ask,       use_template_of_its_own,
                                                  use_scope, connect_factory, use_container_of_its_own};
    unsigned at = (unsigned)(uintptr_t)argument;
    for (;; at++) {
        if (calls[at % (sizeof calls / sizeof *calls)]() != CONEY_OK)
            atomic_fetch_add(&failures, 1);
        pthread_testcancel();
    }
    return NULL;
}

/* One thread after another is cancelled wherever it is, and another one takes its place. */
static void test_threads_that_are_cancelled_anywhere_leave_all_others_at_work(void **state)
{
    (void)state;
    pthread_t threads[STORM_THREADS];
    unsigned begun = 0;
    atomic_store(&failures, 0);
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_reset_handler();
    for (; begun < STORM_THREADS; begun++)
        assert_int_equal(pthread_create(&threads[begun], NULL, call_again_and_again, (void *)(uintptr_t)begun), 0);
    for (int64_t end = cny_now_ms() + STORM_MS; cny_now_ms() < end; begun++) {
        pthread_t *next = &threads[begun % STORM_THREADS];
        poll(NULL, 0, (int)cny_random(10));
        pthread_cancel(*next);
        assert_ptr_equal(join(*next), PTHREAD_CANCELED);
        assert_int_equal(pthread_create(next, NULL, call_again_and_again, (void *)(uintptr_t)begun), 0);
    }
    for (int i = 0; i < STORM_THREADS; i++) {
        pthread_cancel(threads[i]);
        join(threads[i]);
    }
    assert_int_equal(atomic_load(&failures), 0);
    expect_others_to_go_on();
}

#define cancellation_test(function) cmocka_unit_test_setup_teardown(function, set_alarm, fault_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cancellation_test(test_send_that_waits_for_its_confirm_is_completed),
        cancellation_test(test_wait_for_a_confirmation_is_completed),
        cancellation_test(test_receive_that_waits_is_completed),
        cancellation_test(test_connect_is_completed),
        cancellation_test(test_stop_that_waits_for_a_handler_is_completed),
        cancellation_test(test_processor_is_not_cancelled),
        cancellation_test(test_log_sink_in_a_call_is_not_cancelled),
        cancellation_test(test_callback_cannot_cancel_the_events_thread),
        cancellation_test(test_handler_cannot_cancel_its_worker),
        cancellation_test(test_threads_that_are_cancelled_anywhere_leave_all_others_at_work),
    };
    return cmocka_run_group_tests_name("cancelled threads", tests, NULL, NULL);
}
