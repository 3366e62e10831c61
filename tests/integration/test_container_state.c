/* SPDX-License-Identifier: MIT */
/* What a container tells of itself: events and health. */
#include "support/container_fixture.h"

#include "base/base.h"

#include <unistd.h>

static const coney_container_options quick = {.resubscribe_interval_ms = 50};

/* ---- events of consumers ---- */

static void test_events_of_a_start_and_a_stop_come_in_their_order(void **state)
{
    (void)state;
    test_use_container(&(coney_container_options){.name = "shop"});
    test_listen(&(coney_listener){.id = "orders", .consumer_tag = "my-tag"});
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_stop(here.container));
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 1);
    assert_int_equal(test_event_place(CONEY_CONSUMER_STARTED), 0);
    assert_int_equal(test_event_place(CONEY_CONTAINER_STARTED), 1);
    assert_int_equal(test_event_place(CONEY_CONSUMER_STOPPED), 2);
    assert_int_equal(test_event_place(CONEY_CONTAINER_STOPPED), 3);
    test_event started = test_event_at(CONEY_CONSUMER_STARTED, 0);
    assert_string_equal(started.container, "shop");
    assert_string_equal(started.listener_id, "orders");
    assert_string_equal(started.queue, here.queue);
    assert_string_equal(started.consumer_tag, "my-tag");
    assert_int_equal(started.status, CONEY_OK);
    assert_string_equal(test_event_at(CONEY_CONSUMER_STOPPED, 0).consumer_tag, "my-tag");
    test_event stopped = test_event_at(CONEY_CONTAINER_STOPPED, 0);
    assert_string_equal(stopped.container, "shop");
    assert_string_equal(stopped.listener_id, "");
    assert_string_equal(stopped.queue, "");
    assert_string_equal(stopped.consumer_tag, "");
    assert_string_equal(stopped.text, "");
    assert_int_equal(stopped.status, CONEY_OK);
    assert_false(stopped.fatal);
}

static void test_each_consumer_has_events_of_its_own(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.concurrency = 3});
    assert_ok(coney_container_start(here.container));
    test_wait_for_events(CONEY_CONSUMER_STARTED, 3);
    assert_ok(coney_container_stop(here.container));
    test_wait_for_events(CONEY_CONSUMER_STOPPED, 3);
    assert_int_equal(test_count_events(CONEY_CONSUMER_STARTED), 3);
    for (int i = 0; i < 3; i++) {
        const test_event one = test_event_at(CONEY_CONSUMER_STARTED, i);
        assert_true(one.consumer_tag[0]); /* the broker's choice */
        for (int k = 0; k < i; k++)
            assert_string_not_equal(one.consumer_tag, test_event_at(CONEY_CONSUMER_STARTED, k).consumer_tag);
    }
}

static void test_lost_connection_is_told_as_failed_and_restarted(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.concurrency = 2});
    assert_ok(coney_container_start(here.container));
    test_kill_connections();
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 2);
    test_event failed = test_event_at(CONEY_CONSUMER_FAILED, 0);
    assert_int_equal(failed.status, CONEY_E_LOST);
    assert_int_equal(failed.broker_code, 320);
    assert_false(failed.fatal);
    assert_string_equal(failed.queue, here.queue);
    assert_non_null(strstr(failed.text, "was interrupted"));
    assert_int_equal(test_count_events(CONEY_CONSUMER_FAILED), 2);
    assert_int_equal(test_count_events(CONEY_CONSUMER_STARTED), 2);
    assert_int_equal(test_event_at(CONEY_CONSUMER_RESTARTED, 0).status, CONEY_OK);
    test_wait_until(test_health().ready);
    test_send(here.queue, 2);
    test_wait_for(&here.handler.calls, 2);
}

static void test_deleted_queue_is_told_as_failed_then_as_missing(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_start(here.container));
    test_delete_queue(here.queue);
    test_wait_for_events(CONEY_QUEUE_MISSING, 1);
    assert_int_equal(test_event_at(CONEY_CONSUMER_FAILED, 0).status, CONEY_E_NOT_FOUND);
    test_event missing = test_event_at(CONEY_QUEUE_MISSING, 0);
    assert_string_equal(missing.queue, here.queue);
    assert_int_equal(missing.broker_code, 404);
    assert_false(missing.fatal);
    test_make_queue(here.queue);
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 1);
    assert_int_equal(test_count_events(CONEY_QUEUE_MISSING), 1);
}

/* ---- events of listeners and handlers ---- */

static void test_idle_listener_is_told_of_each_interval_until_something_comes(void **state)
{
    (void)state;
    enum { IDLE_MS = 100, SLACK_MS = 2 };
    test_use_container(NULL);
    test_listen(&(coney_listener){.id = "quiet", .idle_event_ms = IDLE_MS});
    assert_ok(coney_container_start(here.container));
    test_wait_for_events(CONEY_LISTENER_IDLE, 3);
    for (int i = 0; i < 3; i++) {
        test_event idle = test_event_at(CONEY_LISTENER_IDLE, i);
        assert_string_equal(idle.listener_id, "quiet");
        assert_string_equal(idle.queue, here.queue);
        assert_true((idle.duration_ms + SLACK_MS) / IDLE_MS >= i + 1);
        if (i > 0)
            assert_true(idle.duration_ms - test_event_at(CONEY_LISTENER_IDLE, i - 1).duration_ms >= IDLE_MS - SLACK_MS);
    }
    int64_t sent_at = cny_now_ms();
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
    int told = test_count_events(CONEY_LISTENER_IDLE);
    test_wait_for_events(CONEY_LISTENER_IDLE, told + 2);
    test_event anew = test_event_at(CONEY_LISTENER_IDLE, told + 1);
    assert_true(anew.duration_ms <= cny_now_ms() - sent_at);
}

static coney_outcome take_long(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    bool is_slow = strcmp(coney_message_body(coney_delivery_message(delivery)), "0") != 0;
    while (is_slow && atomic_load(&handler->holds))
        usleep(1000);
    atomic_fetch_add(&handler->calls, 1);
    return CONEY_ACK;
}

static void test_slow_handler_is_told_once_for_each_call(void **state)
{
    (void)state;
    enum { SLOW_MS = 500 };
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = take_long, .slow_handler_ms = SLOW_MS});
    assert_ok(coney_container_start(here.container));
    for (int call = 1; call <= 2; call++) {
        here.handler.holds = 1;
        test_send(here.queue, 2); /* the first is quick */
        test_wait_for_events(CONEY_HANDLER_SLOW, call);
        usleep(SLOW_MS * 1000); /* it is not told again */
        test_event slow = test_event_at(CONEY_HANDLER_SLOW, call - 1);
        assert_true(slow.duration_ms >= SLOW_MS);
        assert_string_equal(slow.queue, here.queue);
        assert_true(slow.consumer_tag[0]);
        here.handler.holds = 0;
        test_wait_for(&here.handler.calls, 2 * call);
    }
    assert_int_equal(test_count_events(CONEY_HANDLER_SLOW), 2);
}

static void test_listener_at_work_is_not_idle(void **state)
{
    (void)state;
    enum { IDLE_MS = 200 };
    here.handler.holds = 1;
    test_use_container(NULL);
    test_listen(&(coney_listener){.idle_event_ms = IDLE_MS});
    test_send(here.queue, 1);
    assert_ok(coney_container_start(here.container));
    test_wait_for(&here.handler.calls, 1);
    int told = test_count_events(CONEY_LISTENER_IDLE); /* before it came, perhaps */
    usleep(3 * IDLE_MS * 1000);
    assert_int_equal(test_count_events(CONEY_LISTENER_IDLE), told);
    here.handler.holds = 0;
    test_wait_for_events(CONEY_LISTENER_IDLE, told + 1);
}

static coney_outcome fail_for_want_of_stock(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_RETRY, "no stock");
}

static void test_recovered_message_is_told_with_the_reason_and_what_was_done(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){
        .on_message = fail_for_want_of_stock,
        .retry = {.max_attempts = 2, .first_delay_ms = 1, .exhausted = CONEY_EXHAUSTED_REJECT},
    });
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);
    test_wait_for_events(CONEY_MESSAGE_EXHAUSTED, 1);
    test_event exhausted = test_event_at(CONEY_MESSAGE_EXHAUSTED, 0);
    assert_string_equal(exhausted.queue, here.queue);
    assert_non_null(strstr(exhausted.text, "no stock"));
    assert_non_null(strstr(exhausted.text, "is rejected after 2 attempts"));
    assert_int_equal(exhausted.status, CONEY_E_HANDLER);
    assert_false(exhausted.fatal);
}

static void test_unreadable_message_is_told_as_rejected(void **state)
{
    (void)state;
    coney_message *broken;
    assert_ok(coney_message_new(&broken, "{", 1, &(coney_properties){.content_type = "application/json"}));
    test_use_container(NULL);
    test_listen(&(coney_listener){.converter = coney_json_converter()});
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_template_send(client.sender, here.queue, broken, NULL));
    coney_message_unref(broken);
    test_wait_for_events(CONEY_MESSAGE_REJECTED, 1);
    test_event rejected = test_event_at(CONEY_MESSAGE_REJECTED, 0);
    assert_string_equal(rejected.queue, here.queue);
    assert_int_equal(rejected.status, CONEY_E_CONVERSION);
    assert_non_null(strstr(rejected.text, "invalid JSON"));
    test_wait_until(test_statistics(NULL).rejected == 1);
}

/* ---- the events thread ---- */

static atomic_int told, may_return, told_stopped;

static void hang(const coney_container_event *event, void *user)
{
    (void)user;
    atomic_fetch_add(&told, 1);
    atomic_fetch_add(&told_stopped, event->kind == CONEY_CONTAINER_STOPPED);
    while (!atomic_load(&may_return))
        usleep(1000);
}

static void test_callback_that_hangs_holds_up_no_consumer_and_events_beyond_a_thousand_are_dropped(void **state)
{
    (void)state;
    enum { MESSAGES = 1500, KEPT = 1000 };
    told = may_return = told_stopped = 0;
    test_use_container(&(coney_container_options){.on_event = hang});
    test_listen(&(coney_listener){.on_message = fail_for_want_of_stock,
                                  .retry = {.max_attempts = 1, .exhausted = CONEY_EXHAUSTED_REJECT}});
    assert_ok(coney_container_start(here.container));
    coney_message *message = test_text("x");
    for (int i = 0; i < MESSAGES; i++)
        assert_ok(coney_template_send_async(client.sender, here.queue, message, NULL, NULL, NULL));
    coney_message_unref(message);
    test_wait_until(test_statistics(NULL).rejected == MESSAGES);
    assert_int_equal(told, 1);
    assert_ok(coney_container_stop(here.container));
    may_return = 1;
    test_wait_until(told_stopped == 1); /* which is not dropped */
    assert_int_equal(told, KEPT + 1);
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);              /* there is room again */
    test_wait_until(told == KEPT + 1 + 3); /* both have started, and a message was recovered */
}

static atomic_int has_returned;

static void return_late(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind == CONEY_CONTAINER_STOPPED) {
        usleep(100000); /* long enough for a free that does not wait */
        atomic_store(&has_returned, 1);
    }
}

static void test_free_waits_for_the_events_to_be_told(void **state)
{
    (void)state;
    has_returned = 0;
    test_use_container(&(coney_container_options){.on_event = return_late});
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_start(here.container));
    coney_container *freed = here.container;
    here.container = NULL;
    coney_container_free(freed);
    assert_int_equal(has_returned, 1);
}

static void test_events_have_names(void **state)
{
    (void)state;
    static const char *names[] = {"CONTAINER_STARTED",   "CONTAINER_STOPPED", "CONSUMER_STARTED",  "CONSUMER_FAILED",
                                  "CONSUMER_RESTARTED",  "CONSUMER_STOPPED",  "QUEUE_MISSING",     "LISTENER_IDLE",
                                  "HANDLER_SLOW",        "MESSAGE_EXHAUSTED", "MESSAGE_DISCARDED", "PUBLISHERS_BLOCKED",
                                  "PUBLISHERS_UNBLOCKED"};
    assert_int_equal(COUNT_OF(names), CONEY_PUBLISHERS_UNBLOCKED);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_string_equal(coney_container_event_name((coney_container_event_kind)(i + 1)), names[i]);
    assert_string_equal(coney_container_event_name((coney_container_event_kind)0), "unknown");
    assert_string_equal(coney_container_event_name((coney_container_event_kind)99), "unknown");
}

/* ---- health ---- */

static void expect_not_ready(const char *words, int wanted)
{
    coney_health health = test_health();
    assert_true(health.live);
    assert_false(health.ready);
    assert_int_equal(health.status, CONEY_E_STATE);
    assert_non_null(strstr(health.reason, words));
    assert_int_equal(health.consumers, 0);
    assert_int_equal(health.wanted, wanted);
}

static void test_health_follows_the_life_of_a_container(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.concurrency = 2});
    expect_not_ready("not running", 0);
    for (int round = 0; round < 2; round++) {
        assert_ok(coney_container_start(here.container));
        coney_health health = test_health();
        assert_true(health.live);
        assert_true(health.ready);
        assert_int_equal(health.status, CONEY_OK);
        assert_string_equal(health.reason, "");
        assert_int_equal(health.consumers, 2);
        assert_int_equal(health.wanted, 2);
        assert_ok(coney_container_stop(here.container));
        expect_not_ready("not running", 0);
    }
    assert_int_equal(coney_container_health(NULL, &(coney_health){0}), CONEY_E_INVALID);
    assert_int_equal(coney_container_health(here.container, NULL), CONEY_E_INVALID);
}

/* As many handlers hang as are called for. */
static void hang_so_many(int consumers, int messages)
{
    here.handler.holds = 1;
    test_use_container(NULL);
    test_listen(&(coney_listener){.concurrency = consumers, .prefetch = 1, .slow_handler_ms = 50});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, messages);
    test_wait_for(&here.handler.calls, messages);
    test_wait_for_events(CONEY_HANDLER_SLOW, messages);
}

static void test_container_whose_workers_all_hang_is_not_live_until_they_return(void **state)
{
    (void)state;
    const int all = test_workers ? test_workers : 3;
    hang_so_many(3, all);
    test_wait_until(!test_health().live);
    coney_health health = test_health();
    assert_false(health.ready);
    assert_int_equal(health.status, CONEY_E_TIMEOUT);
    assert_non_null(strstr(health.reason, "no handler returns"));
    assert_int_equal(health.consumers, 3);
    here.handler.holds = 0;
    test_wait_until(test_health().live && test_health().ready);
}

static void test_container_with_one_worker_that_does_not_hang_is_live(void **state)
{
    (void)state;
    const int all_but_one = (test_workers ? test_workers : 3) - 1;
    hang_so_many(3, all_but_one);
    int64_t long_enough = cny_deadline(200); /* a state that does not change cannot be waited for */
    while (cny_now_ms() < long_enough)
        assert_true(test_health().live && test_health().ready);
}

int main(void)
{
#define state_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        state_test(test_events_of_a_start_and_a_stop_come_in_their_order),
        state_test(test_each_consumer_has_events_of_its_own),
        state_test(test_lost_connection_is_told_as_failed_and_restarted),
        state_test(test_deleted_queue_is_told_as_failed_then_as_missing),
        state_test(test_idle_listener_is_told_of_each_interval_until_something_comes),
        state_test(test_slow_handler_is_told_once_for_each_call),
        state_test(test_listener_at_work_is_not_idle),
        state_test(test_recovered_message_is_told_with_the_reason_and_what_was_done),
        state_test(test_unreadable_message_is_told_as_rejected),
        state_test(test_callback_that_hangs_holds_up_no_consumer_and_events_beyond_a_thousand_are_dropped),
        state_test(test_free_waits_for_the_events_to_be_told),
        state_test(test_events_have_names),
        state_test(test_health_follows_the_life_of_a_container),
        state_test(test_container_whose_workers_all_hang_is_not_live_until_they_return),
        state_test(test_container_with_one_worker_that_does_not_hang_is_live),
    };
    return test_run_with_workers("container state", tests, test_client_setup, test_client_teardown);
}
