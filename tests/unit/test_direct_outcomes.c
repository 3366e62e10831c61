/* SPDX-License-Identifier: MIT */
/* Outcomes that are told directly: whoever sent the message hears of each way out once, under the lock. */
#include "rabbit/connection/confirms/confirms.h"
#include "rabbit/events/events.h"
#include "support/test_support.h"
#include "wire/wire.h"

enum { MAX = 4, MANY = 100, FRAME_MAX = 131072 };

static cny_confirms confirms;
static cny_threads threads;
static pthread_cond_t changed;

/* What was told of a message. */
typedef struct outcome {
    int times;
    coney_status status;
    int broker_code;
    bool may_wake_later; /* there was a list of waiters */
    cny_waiter *waiter;  /* is told, too */
} outcome;

static outcome outcomes[MANY];

static void on_outcome(void *user, cny_error *error, cny_waiter **told)
{
    outcome *one = user;
    one->times++;
    one->status = error ? cny_error_view(error)->status : CONEY_OK;
    one->broker_code = error ? cny_error_view(error)->broker_code : 0;
    one->may_wake_later = told != NULL;
    if (one->waiter && told)
        cny_waiter_tell_later(one->waiter, error, told);
}

static void ref(void *self)
{
    (void)self;
}

static void finished(void *self, size_t callbacks)
{
    (void)self;
    (void)callbacks;
}

static void has_news(void *self)
{
    (void)self;
}

static void log_later(void *self, const char *sentence)
{
    (void)self;
    fail_msg("%s", sentence);
}

static const cny_confirms_owner owner = {
    .ref = ref, .finished = finished, .has_news = has_news, .log_later = log_later};

static int setup(void **state)
{
    (void)state;
    sigset_t signals;
    sigemptyset(&signals);
    cny_threads_init(&threads);
    cny_cond_init(&changed);
    memset(outcomes, 0, sizeof outcomes);
    confirms = (cny_confirms){.owner = &owner, .changed = &changed};
    const cny_confirm_options options = {.max_unconfirmed = MAX, .timeout_ms = 1};
    assert_ok(cny_events_start(&confirms.events, &threads, &threads, &signals));
    return cny_confirms_start(&confirms, &options) == CONEY_OK ? 0 : -1;
}

static void end_channel(coney_status status, int code, const char *text)
{
    cny_error *reason = cny_error_new(status, code, "%s", text);
    cny_confirms_fail(&confirms, reason);
    cny_error_unref(reason);
}

static void stop_events(void)
{
    if (!confirms.events)
        return;
    assert_true(cny_events_stop(confirms.events, cny_deadline(TEST_PATIENCE_MS)));
    cny_events_unref(confirms.events);
    confirms.events = NULL;
}

static int teardown(void **state)
{
    (void)state;
    cny_alloc_fail_after(-1);
    if (!confirms.is_over)
        end_channel(CONEY_E_CLOSED, 0, "the test is over");
    assert_int_equal(0, confirms.unfinished);
    stop_events();
    cny_confirms_free(&confirms);
    cny_threads_join(&threads, NULL, cny_deadline(TEST_PATIENCE_MS));
    cny_threads_free(&threads);
    pthread_cond_destroy(&changed);
    return 0;
}

/* ---- what the tests do ---- */

/* The text of the message is its index. */
static void send_to(int index, const char *exchange)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    coney_message *message = test_text(text);
    const cny_publish publish = {.exchange = exchange,
                                 .routing_key = "key",
                                 .message = message,
                                 .mandatory = true,
                                 .on_outcome = on_outcome,
                                 .user = &outcomes[index]};
    assert_ok(cny_confirms_reserve(&confirms));
    cny_confirms_add(&confirms, &publish);
    coney_message_unref(message);
}

/* Wakes whoever was told, and gives their number. */
static int confirm(uint32_t method, uint64_t tag, bool multiple)
{
    cny_waiter *told = NULL;
    const cny_incoming incoming = {.method = method, .tag = tag, .multiple = multiple};
    cny_confirms_on_confirm(&confirms, &incoming, cny_now_us(), &told);
    return cny_waiters_wake(&told);
}

static void give_back(int index)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    cny_incoming incoming = {.method = CNY_BASIC_RETURN, .code = 312, .text = "NO_ROUTE", .message = test_text(text)};
    incoming.message->exchange = "a";
    incoming.message->routing_key = "key";
    cny_confirms_on_return(&confirms, &incoming, FRAME_MAX);
    coney_message_unref(incoming.message);
}

static void expect(int index, coney_status status)
{
    assert_int_equal(1, outcomes[index].times);
    assert_int_equal(status, outcomes[index].status);
}

/* ---- confirms ---- */

static void test_ack_tells_that_the_message_is_confirmed(void **state)
{
    (void)state;
    send_to(0, "a");
    assert_int_equal(0, outcomes[0].times);
    confirm(CNY_BASIC_ACK, 1, false);
    expect(0, CONEY_OK);
    assert_int_equal(1, confirms.statistics.confirmed);
    assert_int_equal(0, confirms.statistics.unconfirmed);
}

static void test_ack_that_comes_twice_is_told_once(void **state)
{
    (void)state;
    send_to(0, "a");
    send_to(1, "a");
    confirm(CNY_BASIC_ACK, 2, false);
    confirm(CNY_BASIC_ACK, 2, true);
    expect(0, CONEY_OK);
    expect(1, CONEY_OK);
}

static void test_ack_of_several_tells_each_once(void **state)
{
    (void)state;
    for (int i = 0; i < MAX; i++)
        send_to(i, "a");
    confirm(CNY_BASIC_ACK, MAX, true);
    for (int i = 0; i < MAX; i++)
        expect(i, CONEY_OK);
}

static void test_nack_tells_that_the_message_is_refused(void **state)
{
    (void)state;
    send_to(0, "a");
    confirm(CNY_BASIC_NACK, 1, false);
    expect(0, CONEY_E_NACKED);
}

static void test_returned_message_is_told_with_its_ack(void **state)
{
    (void)state;
    send_to(0, "a");
    send_to(1, "a");
    give_back(1);
    assert_int_equal(0, outcomes[1].times);
    confirm(CNY_BASIC_ACK, 2, true);
    expect(0, CONEY_OK);
    expect(1, CONEY_E_RETURNED);
    assert_int_equal(312, outcomes[1].broker_code);
}

static void test_waiter_that_an_outcome_tells_is_woken_later(void **state)
{
    (void)state;
    cny_waiter *waiter = cny_waiter_new();
    assert_non_null(waiter);
    send_to(0, "a");
    outcomes[0].waiter = waiter;
    int woken = confirm(CNY_BASIC_NACK, 1, false);
    assert_int_equal(1, woken);
    assert_true(cny_waiter_wait(waiter, cny_deadline(TEST_PATIENCE_MS)));
    assert_int_equal(CONEY_E_NACKED, cny_error_view(cny_waiter_outcome(waiter))->status);
    cny_waiter_unref(waiter);
}

/* The sender has a deadline of its own. */
static void test_deadline_of_confirms_is_not_told(void **state)
{
    (void)state;
    send_to(0, "a");
    int64_t next = cny_confirms_expire(&confirms, cny_now_ms() + 10000);
    assert_int_equal(0, outcomes[0].times);
    assert_true(next == INT64_MAX);
    confirm(CNY_BASIC_ACK, 1, false);
    expect(0, CONEY_OK);
}

/* ---- the end of the channel ---- */

static void test_refusal_tells_the_named_message_why_and_others_that_they_are_lost(void **state)
{
    (void)state;
    send_to(0, "a");
    send_to(1, "b");
    send_to(2, "a");
    end_channel(CONEY_E_NOT_FOUND, 404, "404 NOT_FOUND - no exchange 'b' in vhost '/'");
    expect(0, CONEY_E_LOST);
    expect(1, CONEY_E_NOT_FOUND);
    expect(2, CONEY_E_LOST);
    assert_int_equal(404, outcomes[1].broker_code);
}

static void test_refusal_tells_the_only_message_why(void **state)
{
    (void)state;
    send_to(0, "a");
    end_channel(CONEY_E_PRECONDITION_FAILED, 406, "406 PRECONDITION_FAILED - something");
    expect(0, CONEY_E_PRECONDITION_FAILED);
}

static void test_loss_of_the_connection_is_told(void **state)
{
    (void)state;
    send_to(0, "a");
    send_to(1, "a");
    confirm(CNY_BASIC_ACK, 1, false);
    end_channel(CONEY_E_LOST, 320, "the broker closed the connection");
    expect(0, CONEY_OK);
    expect(1, CONEY_E_LOST);
    assert_false(outcomes[1].may_wake_later); /* it may be any thread */
}

static void test_close_by_the_program_is_told(void **state)
{
    (void)state;
    send_to(0, "a");
    end_channel(CONEY_E_CLOSED, 0, "closed by the program");
    expect(0, CONEY_E_CLOSED);
}

static void test_returned_message_is_told_so_if_its_ack_does_not_come(void **state)
{
    (void)state;
    send_to(0, "a");
    give_back(0);
    end_channel(CONEY_E_LOST, 320, "the broker closed the connection");
    expect(0, CONEY_E_RETURNED);
}

/* The broker is silent about the first one, which leaves the ring. */
static void test_straggler_is_told_once(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++) {
        send_to(i, "a");
        if (i > 0)
            confirm(CNY_BASIC_ACK, (uint64_t)i + 1, false);
    }
    assert_int_equal(0, outcomes[0].times);
    assert_true(confirms.stragglers.size > 0);
    confirm(CNY_BASIC_NACK, 1, false);
    expect(0, CONEY_E_NACKED);
    end_channel(CONEY_E_LOST, 320, "the broker closed the connection");
    for (int i = 1; i < MANY; i++)
        expect(i, CONEY_OK);
}

/* ---- what else ---- */

static void test_failure_that_is_told_directly_is_neither_logged_nor_tallied(void **state)
{
    (void)state;
    confirms.tallied = true;
    test_log_start(CONEY_LOG_DEBUG);
    send_to(0, "a");
    confirm(CNY_BASIC_NACK, 1, false);
    confirms.tallied = false;
    send_to(1, "a");
    confirm(CNY_BASIC_NACK, 2, false);
    end_channel(CONEY_E_CLOSED, 0, "the test is over");
    stop_events(); /* it would log */
    int lines = test_log_count("not confirmed");
    test_log_stop();
    assert_int_equal(0, lines);
    assert_int_equal(0, confirms.failed);
    assert_int_equal(2, confirms.statistics.nacked);
}

static void test_told_message_leaves_its_place_in_the_window(void **state)
{
    (void)state;
    for (int i = 0; i < MAX; i++)
        send_to(i, "a");
    assert_true(cny_confirms_full(&confirms));
    confirm(CNY_BASIC_ACK, 1, false);
    assert_false(cny_confirms_full(&confirms));
    assert_int_equal(MAX - 1, cny_confirms_taken(&confirms));
}

/* Without memory for the error there is one that says so. */
static void test_outcome_is_told_without_memory(void **state)
{
    (void)state;
    send_to(0, "a");
    send_to(1, "a");
    cny_alloc_fail_after(0);
    confirm(CNY_BASIC_NACK, 1, false);
    end_channel(CONEY_E_PRECONDITION_FAILED, 406, "406 PRECONDITION_FAILED - something");
    cny_alloc_fail_after(-1);
    assert_int_equal(1, outcomes[0].times);
    assert_int_not_equal(CONEY_OK, outcomes[0].status);
    assert_int_equal(1, outcomes[1].times);
    assert_int_not_equal(CONEY_OK, outcomes[1].status);
}

#define outcome_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        outcome_test(test_ack_tells_that_the_message_is_confirmed),
        outcome_test(test_ack_that_comes_twice_is_told_once),
        outcome_test(test_ack_of_several_tells_each_once),
        outcome_test(test_nack_tells_that_the_message_is_refused),
        outcome_test(test_returned_message_is_told_with_its_ack),
        outcome_test(test_waiter_that_an_outcome_tells_is_woken_later),
        outcome_test(test_deadline_of_confirms_is_not_told),
        outcome_test(test_refusal_tells_the_named_message_why_and_others_that_they_are_lost),
        outcome_test(test_refusal_tells_the_only_message_why),
        outcome_test(test_loss_of_the_connection_is_told),
        outcome_test(test_close_by_the_program_is_told),
        outcome_test(test_returned_message_is_told_so_if_its_ack_does_not_come),
        outcome_test(test_straggler_is_told_once),
        outcome_test(test_failure_that_is_told_directly_is_neither_logged_nor_tallied),
        outcome_test(test_told_message_leaves_its_place_in_the_window),
        outcome_test(test_outcome_is_told_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
