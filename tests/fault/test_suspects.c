/* SPDX-License-Identifier: MIT */
/* Consumers that were not answered when the broker closed the connection: those that are innocent lose nothing. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdatomic.h>

enum { SHARED = 2 }; /* connections that the broker closes; all suspects are tried on others then */

static atomic_int trials, isolated, returned, passed;

static bool is_queue(const cny_peer_method *consume, const char *name)
{
    amqp_bytes_t queue = ((amqp_basic_consume_t *)consume->args)->queue;
    return queue.len == strlen(name) && memcmp(queue.bytes, name, queue.len) == 0;
}

static _Atomic amqp_method_number_t refused_method =
    AMQP_BASIC_CONSUME_METHOD; /* 0: a channel that crashes names none */

static void refuse(cny_peer *peer)
{
    cny_peer_close_connection_over(peer, refused_method, 541, "INTERNAL_ERROR - not by this one");
}

/* Nobody is answered, and one of them costs the connection. */
static void accuse_all(cny_peer *peer)
{
    while (!is_queue(cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD), "bad"))
        ;
    while (cny_peer_hears(peer, 100))
        cny_peer_next(peer);
    refuse(peer);
}

/* The first answer to each of the innocent ones is that of its trial. */
static void answer_innocent(cny_peer *peer, const cny_peer_method *consume)
{
    amqp_channel_t channel = consume->channel;
    bool acknowledges = !((amqp_basic_consume_t *)consume->args)->no_ack;
    atomic_int *answers = acknowledges ? &returned : &passed;
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, consume);
    if (atomic_fetch_add(answers, 1) == 0 && acknowledges)
        cny_peer_deliver(peer, channel, 1, "returned");
    else if (atomic_load(answers) == 1)
        for (uint64_t tag = 1; tag <= 3; tag++)
            cny_peer_deliver(peer, channel, tag, "passed");
    cny_peer_cork(peer, false);
}

static void refuse_the_bad_one(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) < SHARED) {
        accuse_all(peer);
        return;
    }
    for (;;) {
        cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
        if (!is_queue(consume, "bad")) {
            answer_innocent(peer, consume);
            continue;
        }
        atomic_fetch_add(&trials, 1);
        refuse(peer);
        return;
    }
}

static void listen_to(const char *queue, coney_acknowledge_mode acknowledge)
{
    const coney_listener listener = {.queue = queue, .on_message = fault_obey, .acknowledge = acknowledge};
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &listener));
}

static void start(cny_script *script)
{
    atomic_store(&trials, 0);
    atomic_store(&isolated, 0);
    atomic_store(&returned, 0);
    atomic_store(&passed, 0);
    fault_reset_handler();
    fault_start(script, NULL);
    const coney_container_options options = {.resubscribe_interval_ms = 20};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
}

static coney_health health(void)
{
    coney_health now;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &now));
    return now;
}

/* The innocent one consumes in the end, while the bad one is tried again. */
static void start_with_a_bad_one(const char *innocent, coney_acknowledge_mode acknowledge)
{
    start(refuse_the_bad_one);
    listen_to(innocent, acknowledge);
    listen_to("bad", acknowledge);
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_wait_until(health().consumers == 1 && atomic_load(&trials) >= 2);
    coney_health now = health();
    assert_int_equal(now.status, CONEY_E_BROKER);
    assert_non_null(strstr(now.reason, "consume from queue 'bad': 541 INTERNAL_ERROR - not by this one"));
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, SHARED + 1);
}

static void test_innocent_consumer_lets_its_messages_go_back(void **state)
{
    (void)state;
    start_with_a_bad_one("good", CONEY_ACKNOWLEDGE_AUTO);
    assert_int_equal(fault_handled("returned"), 0);
    assert_int_equal(atomic_load(&returned), 2); /* once alone, once with the others */
}

/* They begin after the others. */
static void test_innocent_consumer_that_acknowledges_nothing_handles_its_messages(void **state)
{
    (void)state;
    start_with_a_bad_one("none", CONEY_ACKNOWLEDGE_NONE);
    assert_int_equal(fault_handled("passed"), 3);
    assert_int_equal(atomic_load(&passed), 2);
}

static void test_close_that_names_no_method_is_about_a_consumer_that_is_tried_alone(void **state)
{
    (void)state;
    atomic_store(&refused_method, 0);
    start_with_a_bad_one("good", CONEY_ACKNOWLEDGE_AUTO);
    atomic_store(&refused_method, AMQP_BASIC_CONSUME_METHOD);
}

static void test_stop_while_a_consumer_is_refused_does_not_wait_for_it(void **state)
{
    (void)state;
    start_with_a_bad_one("good", CONEY_ACKNOWLEDGE_AUTO);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    test_expect_elapsed(began, 0, 1500);
}

/* ---- a queue that is exclusive to the consuming connection ---- */

/* It is locked on any other connection, and that is no refusal. The others find it consumable in the end. */
static void lock_on_the_isolated_connection(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) < SHARED) {
        accuse_all(peer);
        return;
    }
    cny_peer_log_in(peer);
    atomic_fetch_add(&isolated, cny_peer_is_isolated(peer));
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    if (atomic_fetch_add(&trials, 1) == 0)
        cny_peer_close_channel(peer, consume->channel, 405, "RESOURCE_LOCKED - cannot obtain exclusive access");
    else
        cny_peer_answer(peer, consume);
}

static void test_exclusive_queue_is_tried_on_the_consuming_connection(void **state)
{
    (void)state;
    start(lock_on_the_isolated_connection);
    listen_to("bad", CONEY_ACKNOWLEDGE_AUTO);
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    assert_int_equal(health().consumers, 1);
    assert_int_equal(atomic_load(&trials), 2);
    assert_int_equal(atomic_load(&isolated), 1); /* which has done no harm, and serves on */
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, SHARED + 1);
}

/* ---- a limit of connections ---- */

static void allow_no_isolated_connection(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *open = cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    if (cny_peer_is_isolated(peer)) {
        atomic_fetch_add(&trials, 1);
        cny_peer_close_connection(peer, 530, "NOT_ALLOWED - user connection limit (2) is reached");
        return;
    }
    cny_peer_answer(peer, open);
    if (cny_peer_number(peer) < SHARED)
        accuse_all(peer);
}

static void test_consumer_that_cannot_be_tried_alone_holds_up_nobody(void **state)
{
    (void)state;
    start(allow_no_isolated_connection);
    listen_to("bad", CONEY_ACKNOWLEDGE_AUTO);
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    coney_health now = health();
    assert_int_equal(now.status, CONEY_E_NOT_ALLOWED);
    assert_non_null(strstr(now.reason, "consume from queue 'bad', which may cost the connection"));
    assert_non_null(strstr(now.reason, "user connection limit (2) is reached"));
    fault_wait_until(atomic_load(&trials) >= 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, SHARED + 1);
}

/* --- a consumer without an answer --- */

enum { CLOSED_MS = 8000, SHARED_HANGS_MS = 2 * CLOSED_MS + 2000 };

/* Nothing is answered on the channel of the bad one, and after a while the connection is closed. */
static void give_the_bad_one_no_answer(cny_peer *peer, void *user)
{
    (void)user;
    int64_t closes_at = INT64_MAX;
    amqp_channel_t stuck = 0;
    while (cny_now_ms() < closes_at) {
        if (!cny_peer_hears(peer, 50))
            continue;
        cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_BASIC_CONSUME_METHOD && is_queue(method, "bad")) {
            stuck = method->channel;
            closes_at = cny_now_ms() + CLOSED_MS;
            atomic_fetch_add(&trials, 1);
        }
        if (stuck == 0 || method->channel != stuck)
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
    cny_peer_close_connection_over(peer, AMQP_BASIC_CONSUME_METHOD, 541, "INTERNAL_ERROR - nodedown");
}

/* The late close takes the connection that all use. A heartbeat would keep the script from looking at the clock. */
static void test_consumer_without_an_answer_costs_the_others_their_connection_once(void **state)
{
    (void)state;
    atomic_store(&trials, 0);
    fault_reset_handler();
    fault_start(give_the_bad_one_no_answer, &(coney_connection_factory_options){.heartbeat_s = 60});
    const coney_container_options options = {.resubscribe_interval_ms = 20};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    listen_to("good", CONEY_ACKNOWLEDGE_AUTO);
    listen_to("bad", CONEY_ACKNOWLEDGE_AUTO);
    fault_expect_status(CONEY_OK, coney_container_start(fault.container)); /* it does not wait for the bad one */
    poll(NULL, 0, SHARED_HANGS_MS);
    assert_true(atomic_load(&trials) >= 2);
    coney_health now = health();
    assert_int_equal(now.consumers, 1);
    assert_int_equal(now.status, CONEY_E_TIMEOUT);
    assert_non_null(strstr(now.reason, "consume from queue 'bad': no answer from the broker"));
    assert_int_in_range(fault_info(CONEY_CONSUMING).times_opened, 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_innocent_consumer_lets_its_messages_go_back),
        fault_test(test_innocent_consumer_that_acknowledges_nothing_handles_its_messages),
        fault_test(test_close_that_names_no_method_is_about_a_consumer_that_is_tried_alone),
        fault_test(test_stop_while_a_consumer_is_refused_does_not_wait_for_it),
        fault_test(test_exclusive_queue_is_tried_on_the_consuming_connection),
        fault_test(test_consumer_that_cannot_be_tried_alone_holds_up_nobody),
        fault_test(test_consumer_without_an_answer_costs_the_others_their_connection_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
