/* SPDX-License-Identifier: MIT */
/* What is wanted comes about, whatever the broker does meanwhile: consumers that vanish are there again, and one that
 * has to wait keeps no other one waiting. */
#include "support/fault_consumer.h"
#include "support/test_support.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LONG_MS = 10000, INTERVAL_MS = 20 };

/* ---- listeners ---- */

static void use_container(int resubscribe_interval_ms, int start_timeout_ms)
{
    const coney_container_options options = {.resubscribe_interval_ms = resubscribe_interval_ms,
                                             .start_timeout_ms = start_timeout_ms,
                                             .workers = test_workers};
    fault_reset_handler();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
}

static void listen_to(const char *queue, int concurrency)
{
    const coney_listener listener = {.queue = queue, .on_message = fault_obey, .concurrency = concurrency};
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &listener));
}

static void start_container(void)
{
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
}

static coney_health health(void)
{
    coney_health now;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &now));
    return now;
}

static bool consumes_with(int consumers)
{
    coney_health now = health();
    return now.ready && now.consumers == consumers;
}

/* ---- consumers that vanish ---- */

enum { ENDINGS = 300 };

static atomic_int endings;
static unsigned randomness;

/* False if that was the end of the connection, too. */
static bool end_somehow(cny_peer *peer, amqp_channel_t channel, int way)
{
    switch (way) {
    case 0: cny_peer_cancel_consumer(peer, channel); return true;
    case 1: cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'"); return true;
    case 2: cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - timed out"); return true;
    case 3: cny_peer_close_channel(peer, channel, 541, "INTERNAL_ERROR"); return true;
    case 4: cny_peer_deliver(peer, channel, 1, "some"), cny_peer_cancel_consumer(peer, channel); return true;
    case 5: cny_peer_deliver(peer, channel, 1, "some"), cny_peer_hang_up(peer); return false;
    case 6: cny_peer_hang_up(peer); return false;
    case 7: cny_peer_reset(peer); return false;
    default: (void)!cny_peer_close_connection(peer, 320, "CONNECTION_FORCED"); return false;
    }
}

/* Some end before they have begun. */
static void refuse_somehow(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
}

/* The first connection lets the container start: while it does, a refusal may be the end of it. */
static void end_each(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
        return;
    }
    while (atomic_load(&endings) < ENDINGS) {
        cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
        amqp_channel_t channel = consume->channel;
        int way = (int)((unsigned)rand_r(&randomness) % 10);
        atomic_fetch_add(&endings, 1);
        if (way == 9) {
            refuse_somehow(peer, channel);
            continue;
        }
        cny_peer_answer(peer, consume);
        if (!end_somehow(peer, channel, way))
            return;
    }
}

static void expect_survival(int consumers)
{
    const coney_recovery_options recovery = {.first_delay_ms = 1, .max_delay_ms = 5};
    atomic_store(&endings, 0);
    randomness = 4711;
    fault_start(end_each, &(coney_connection_factory_options){.recovery = recovery});
    use_container(1, LONG_MS);
    listen_to("orders", consumers);
    start_container();
    cny_broker_go(fault.broker);
    fault_wait_until(atomic_load(&endings) >= ENDINGS);
    fault_wait_until(consumes_with(consumers));
}

static void test_consumer_that_vanishes_in_many_ways_is_there_again(void **state)
{
    (void)state;
    expect_survival(1);
}

static void test_consumers_of_which_one_vanishes_after_the_other_are_there_again(void **state)
{
    (void)state;
    expect_survival(5);
}

/* ---- one that gets no answer ---- */

static bool is_for(const cny_peer_method *consume, const char *queue)
{
    const amqp_basic_consume_t *args = consume->args;
    return args->queue.len == strlen(queue) && memcmp(args->queue.bytes, queue, args->queue.len) == 0;
}

/* The first connection serves all until it is lost; on the second "slow" gets no answer before go. */
static void leave_one_without_an_answer(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t waits = 0;
    if (cny_peer_number(peer) == 0) {
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
        return;
    }
    for (int consumers = 0; consumers < 3; consumers++) {
        cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
        amqp_channel_t channel = consume->channel;
        if (is_for(consume, "slow")) {
            waits = channel;
            continue;
        }
        cny_peer_answer(peer, consume);
        cny_peer_deliver(peer, channel, 1, "ack");
    }
    cny_peer_wait_go(peer);
    amqp_basic_consume_ok_t late = {amqp_cstring_bytes("late")};
    cny_peer_send(peer, waits, AMQP_BASIC_CONSUME_OK_METHOD, &late);
    cny_peer_deliver(peer, waits, 1, "late");
}

static void start_three_and_lose_them(void)
{
    fault_start(leave_one_without_an_answer, NULL);
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("slow", 1);
    listen_to("a", 1);
    listen_to("b", 1);
    start_container();
    cny_broker_go(fault.broker);
    fault_wait_for_calls(2);
}

static void test_answer_that_does_not_come_keeps_no_other_listener_from_consuming(void **state)
{
    (void)state;
    start_three_and_lose_them();
    fault_wait_until(health().consumers == 2);
    assert_false(health().ready);
    cny_broker_go(fault.broker);
    fault_wait_for_calls(3);
    assert_int_equal(fault_handled("late"), 1);
    fault_wait_until(consumes_with(3));
}

static void test_stop_does_not_wait_for_the_answer(void **state)
{
    (void)state;
    start_three_and_lose_them();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 500);
    cny_broker_go(fault.broker);
}

/* ---- a start that is interrupted ---- */

enum { NOTICED_MS = 100 };

static cny_script *end_of_the_first;
static amqp_channel_t first;

static void lose_the_connection(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_hang_up(peer);
}

static void cancel_for_missing_queue(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_cancel_consumer(peer, first);
    cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_OK_METHOD); /* of the channel on which the queue was looked for */
}

static void cancel_though_the_queue_is_there(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_time_out_consumer(peer, first);
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD));
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
}

/* The first consumer has begun, and has a message, when it ends; the second has no answer yet. */
static void end_the_first_while_the_second_waits(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    first = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, first, 1, "ack");
    cny_peer_method second = *cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_silence(peer, NOTICED_MS);
    end_of_the_first(peer, NULL);
    if (!cny_peer_silence(peer, NOTICED_MS))
        return;
    amqp_basic_consume_ok_t late = {amqp_cstring_bytes("late")};
    cny_peer_send(peer, second.channel, AMQP_BASIC_CONSUME_OK_METHOD, &late);
}

static void expect_start(cny_script *end)
{
    end_of_the_first = end;
    fault_start(end_the_first_while_the_second_waits, NULL);
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("a", 1);
    listen_to("b", 1);
    start_container();
    fault_wait_until(consumes_with(2));
}

static void test_start_outlives_the_loss_of_the_connection(void **state)
{
    (void)state;
    expect_start(lose_the_connection);
}

static void test_start_outlives_the_end_of_a_consumer(void **state)
{
    (void)state;
    expect_start(cancel_for_missing_queue);
    fault_wait_for_calls(1); /* its queue may be gone, so the message would not come again */
}

static void test_start_outlives_the_cancel_of_a_consumer_whose_queue_is_there(void **state)
{
    (void)state;
    expect_start(cancel_though_the_queue_is_there);
}

/* ---- too many channels ---- */

static void test_consumers_for_which_there_is_no_channel_come_when_there_is_room(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.channel_max = 4}, NULL);
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("orders", 2);
    listen_to("others", 2);
    start_container();
    fault_expect_status(CONEY_OK, coney_container_set_concurrency(fault.container, "orders", 4, 4));
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_LIMIT);
    fault_expect_text("'orders'");
    assert_int_equal(health().consumers, 4);
    assert_int_equal(health().wanted, 6);
    fault_expect_status(CONEY_OK, coney_container_stop_listener(fault.container, "others"));
    fault_wait_until(consumes_with(4));
}

/* ---- round trips ---- */

enum { MANY = 1000, QUIET_MS = 20, MAX_WAITING = 4 * MANY };

static atomic_int rounds, answered_consumers;

static void answer_later(cny_peer *peer, amqp_method_number_t id, amqp_channel_t channel)
{
    char tag[16];
    snprintf(tag, sizeof tag, "c%d", channel);
    amqp_basic_consume_ok_t consume_ok = {amqp_cstring_bytes(tag)};
    if (id == AMQP_CHANNEL_OPEN_METHOD)
        cny_peer_send(peer, channel, AMQP_CHANNEL_OPEN_OK_METHOD, NULL);
    else if (id == AMQP_BASIC_QOS_METHOD)
        cny_peer_send(peer, channel, AMQP_BASIC_QOS_OK_METHOD, NULL);
    else if (id == AMQP_BASIC_CONSUME_METHOD)
        cny_peer_send(peer, channel, AMQP_BASIC_CONSUME_OK_METHOD, &consume_ok);
    else
        cny_peer_fail(peer, "no answer to 0x%08x is known", id);
    atomic_fetch_add(&answered_consumers, id == AMQP_BASIC_CONSUME_METHOD);
}

/* On the second connection answers come only when the client waits for them, so each wait is a round trip. */
static void count_round_trips(cny_peer *peer, void *user)
{
    (void)user;
    static struct {
        amqp_method_number_t id;
        amqp_channel_t channel;
    } waiting[MAX_WAITING];
    if (cny_peer_number(peer) == 0) {
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_log_in(peer);
    while (atomic_load(&answered_consumers) < MANY) {
        int count = 0;
        do {
            cny_peer_method *method = cny_peer_next(peer);
            waiting[count].id = method->id;
            waiting[count++].channel = method->channel;
        } while (count < MAX_WAITING && cny_peer_hears(peer, QUIET_MS));
        atomic_fetch_add(&rounds, 1);
        for (int i = 0; i < count; i++)
            answer_later(peer, waiting[i].id, waiting[i].channel);
    }
}

static void test_thousand_consumers_resume_in_few_round_trips(void **state)
{
    (void)state;
    atomic_store(&rounds, 0);
    atomic_store(&answered_consumers, 0);
    fault_start(count_round_trips, NULL);
    fault_reset_handler();
    const coney_container_options options = {.workers = 2}; /* one for each would be a thousand threads */
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    listen_to("orders", MANY);
    start_container();
    assert_true(consumes_with(MANY));
    cny_broker_go(fault.broker);
    fault_wait_until(atomic_load(&answered_consumers) == MANY);
    fault_wait_until(consumes_with(MANY));
    assert_int_in_range(atomic_load(&rounds), 1, MANY / 10);
}

/* ---- without a broker ---- */

static atomic_bool lets_in;

static void let_none_in_for_a_while(cny_peer *peer, void *user)
{
    (void)user;
    if (!atomic_load(&lets_in)) {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "ack");
    fault_expect_ack(peer, 1);
}

static void start_without(bool start_without_broker, coney_status expected)
{
    const coney_container_options options = {
        .workers = test_workers, .start_timeout_ms = 300, .start_without_broker = start_without_broker};
    atomic_store(&lets_in, false);
    fault_reset_handler();
    fault_start(let_none_in_for_a_while, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    listen_to("orders", 1);
    fault_expect_status(expected, coney_container_start(fault.container));
}

static void test_start_without_a_broker_fails(void **state)
{
    (void)state;
    start_without(false, CONEY_E_CONNECT);
    assert_true(health().live);
    assert_false(health().ready);
    fault_expect_status(CONEY_E_STATE, coney_container_check(fault.container));
    atomic_store(&lets_in, true);
    fault_wait_until(coney_container_start(fault.container) == CONEY_OK);
    fault_wait_for_calls(1);
}

static void test_start_without_a_broker_succeeds_if_asked_for_and_consumes_once_there_is_one(void **state)
{
    (void)state;
    start_without(true, CONEY_OK);
    assert_true(health().live);
    assert_false(health().ready);
    assert_int_equal(health().status, CONEY_E_CONNECT);
    atomic_store(&lets_in, true);
    fault_wait_for_calls(1);
    fault_wait_until(consumes_with(1));
}

/* ---- stopping while something is under way ---- */

static coney_status start_in_background(void)
{
    return coney_container_start(fault.container);
}

static void say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    (void)!cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void never_answer_a_consumer(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
}

static void expect_stop_ends_the_start(cny_script *script, amqp_method_number_t heard)
{
    fault_start(script, NULL);
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("orders", 1);
    fault_in_background(start_in_background);
    fault_wait_until(cny_broker_count_heard(fault.broker, heard) > 0);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    fault_expect_text("stopped meanwhile");
    test_expect_elapsed(began, 0, 500);
}

static void test_stop_ends_a_start_that_connects(void **state)
{
    (void)state;
    expect_stop_ends_the_start(say_nothing, CNY_PROTOCOL_HEADER);
}

static void test_stop_ends_a_start_that_subscribes(void **state)
{
    (void)state;
    expect_stop_ends_the_start(never_answer_a_consumer, AMQP_BASIC_CONSUME_METHOD);
}

static atomic_int unanswered_declarations;

/* The queue is gone, and the broker does not answer when it is declared again. */
static void never_answer_a_declaration(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)); /* of the new connection */
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    atomic_fetch_add(&unanswered_declarations, 1);
}

static void use_admin_of_orders(void)
{
    coney_topology *topology = coney_topology_new();
    fault_expect_status(CONEY_OK, coney_topology_add_queue(topology, &(coney_queue){.name = "orders"}));
    const coney_admin_options options = {.topology = topology};
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &options);
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static int64_t cpu_ms(void)
{
    return (int64_t)clock() / (CLOCKS_PER_SEC / 1000);
}

/* Who waits for the broker takes no CPU. */
static void expect_rest(void)
{
    int64_t before = cpu_ms();
    poll(NULL, 0, 500);
    assert_int_in_range(cpu_ms() - before, 0, 100);
}

static void test_stop_does_not_wait_for_the_declaration_of_a_queue(void **state)
{
    (void)state;
    atomic_store(&unanswered_declarations, 0);
    fault_start(never_answer_a_declaration, NULL);
    use_admin_of_orders();
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("orders", 1);
    start_container();
    cny_broker_go(fault.broker);
    fault_wait_until(atomic_load(&unanswered_declarations) == 1);
    expect_rest();
    int64_t began = cny_now_ms();
    coney_status status = coney_container_stop_with(fault.container, CONEY_STOP_DRAIN, 8000);
    test_expect_elapsed(began, 0, 2500);
    fault_expect_status(CONEY_OK, status);
}

static void deliver_at_once(cny_peer *peer, void *user)
{
    (void)user;
    for (bool lasts = true; lasts;) {
        cny_peer_method *method = cny_peer_next(peer);
        amqp_channel_t channel = method->channel;
        bool consumes = method->id == AMQP_BASIC_CONSUME_METHOD;
        lasts = method->id != AMQP_CONNECTION_CLOSE_METHOD;
        cny_peer_cork(peer, true);
        cny_peer_answer(peer, method);
        for (uint64_t tag = 1; tag <= 20 && consumes; tag++)
            cny_peer_deliver(peer, channel, tag, "some");
        cny_peer_cork(peer, false);
    }
}

/* Its lane may run before the supervisor has seen that it consumes. */
static void test_listener_that_goes_while_it_subscribes_ends_in_order(void **state)
{
    (void)state;
    fault_start(deliver_at_once, NULL);
    use_container(INTERVAL_MS, LONG_MS);
    listen_to("orders", 1);
    start_container();
    for (int i = 0; i < 200; i++) {
        listen_to("others", 2);
        poll(NULL, 0, i % 3); /* it is hit at any point of its work */
        fault_expect_status(CONEY_OK, coney_container_unlisten(fault.container, "others"));
    }
    assert_true(consumes_with(1));
}

/* ---- publishers ---- */

static atomic_int blocked_told, unblocked_told;

static void note_blocking(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind == CONEY_PUBLISHERS_BLOCKED && strstr(event->text, "low on memory"))
        atomic_fetch_add(&blocked_told, 1);
    if (event->kind == CONEY_PUBLISHERS_UNBLOCKED)
        atomic_fetch_add(&unblocked_told, 1);
}

static void block_for_a_while(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer))
        return;
    cny_peer_wait_go(peer);
    cny_peer_block(peer, "low on memory");
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void test_blocked_publishers_are_told(void **state)
{
    (void)state;
    atomic_store(&blocked_told, 0);
    atomic_store(&unblocked_told, 0);
    fault_start(block_for_a_while, NULL);
    fault_use_template(NULL);
    fault_use_container(&(coney_container_options){.on_event = note_blocking, .workers = test_workers}, fault_obey, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    int64_t began = cny_now_ms();
    cny_broker_go(fault.broker);
    fault_wait_until(atomic_load(&blocked_told) == 1);
    assert_true(consumes_with(1)); /* consumers do not care */
    cny_broker_go(fault.broker);
    fault_wait_until(atomic_load(&unblocked_told) == 1);
    test_expect_elapsed(began, 0, 500);
    assert_int_equal(blocked_told, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_consumer_that_vanishes_in_many_ways_is_there_again),
        fault_test(test_consumers_of_which_one_vanishes_after_the_other_are_there_again),
        fault_test(test_answer_that_does_not_come_keeps_no_other_listener_from_consuming),
        fault_test(test_stop_does_not_wait_for_the_answer),
        fault_test(test_start_outlives_the_loss_of_the_connection),
        fault_test(test_start_outlives_the_end_of_a_consumer),
        fault_test(test_start_outlives_the_cancel_of_a_consumer_whose_queue_is_there),
        fault_test(test_consumers_for_which_there_is_no_channel_come_when_there_is_room),
        fault_test(test_thousand_consumers_resume_in_few_round_trips),
        fault_test(test_start_without_a_broker_fails),
        fault_test(test_start_without_a_broker_succeeds_if_asked_for_and_consumes_once_there_is_one),
        fault_test(test_stop_ends_a_start_that_connects),
        fault_test(test_stop_ends_a_start_that_subscribes),
        fault_test(test_stop_does_not_wait_for_the_declaration_of_a_queue),
        fault_test(test_listener_that_goes_while_it_subscribes_ends_in_order),
        fault_test(test_blocked_publishers_are_told),
    };
    return test_run_with_workers("supervision", tests, NULL, NULL);
}
