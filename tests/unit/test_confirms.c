/* SPDX-License-Identifier: MIT */
/* The states of confirms: what senders who wait know of the window, and the search for the message that made the broker
 * close a channel. */
#include "rabbit/connection/confirms/confirms.h"
#include "rabbit/events/events.h"
#include "support/test_support.h"

enum { MAX = 4 }; /* there is room while fewer than three messages are unconfirmed */

static cny_confirms confirms;
static cny_threads threads;
static pthread_cond_t changed;
static int news;

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
    news++;
}

static void log_later(void *self, const char *sentence)
{
    (void)self;
    (void)sentence;
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
    confirms = (cny_confirms){.owner = &owner, .changed = &changed, .tallied = true};
    news = 0;
    const cny_confirm_options options = {.max_unconfirmed = MAX, .timeout_ms = -1, .resends = true};
    assert_ok(cny_events_start(&confirms.events, &threads, &threads, &signals));
    return cny_confirms_start(&confirms, &options) == CONEY_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    size_t i = 0;
    for (cny_confirm *left; (left = cny_confirms_next_to_resend(&confirms, &i)); i = 0)
        cny_confirms_resent(&confirms, left);
    cny_confirms_free(&confirms);
    assert_true(cny_events_stop(confirms.events, cny_deadline(1000)));
    cny_events_unref(confirms.events);
    cny_threads_join(&threads, NULL, cny_deadline(1000));
    cny_threads_free(&threads);
    pthread_cond_destroy(&changed);
    return 0;
}

/* ---- the window ---- */

/* So many messages are unconfirmed now; a sender waits. */
static void have(size_t unconfirmed)
{
    confirms.waiting_senders = 1;
    confirms.unfinished = unconfirmed;
}

static void test_full_window_lets_nobody_go(void **state)
{
    (void)state;
    have(MAX);
    cny_window_wait(&confirms);
    assert_int_equal(CNY_WINDOW_FULL, confirms.mode);
    assert_false(cny_window_lets_go(&confirms));
    confirms.unfinished = 0;
}

static void test_sender_learns_once_that_there_is_a_place(void **state)
{
    (void)state;
    have(MAX);
    cny_window_wait(&confirms);
    cny_confirms_callbacks_returned(&confirms, 1);
    assert_int_equal(CNY_WINDOW_OPEN, confirms.mode);
    assert_false(cny_window_lets_go(&confirms)); /* a quarter of the window must be free */
    cny_confirms_callbacks_returned(&confirms, 1);
    assert_int_equal(CNY_WINDOW_OPEN, confirms.mode);
    assert_true(cny_window_lets_go(&confirms));
    confirms.unfinished = 0;
}

static void test_nobody_learns_of_a_place_where_nobody_waits(void **state)
{
    (void)state;
    have(MAX);
    cny_window_wait(&confirms);
    confirms.waiting_senders = 0;
    cny_confirms_callbacks_returned(&confirms, 1);
    assert_int_equal(CNY_WINDOW_FULL, confirms.mode);
    confirms.unfinished = 0;
}

static void test_trickle_lets_senders_go_until_the_window_is_full(void **state)
{
    (void)state;
    have(MAX - 1);
    cny_window_wait(&confirms);
    assert_int_equal(CNY_WINDOW_OPEN, confirms.mode);
    assert_false(cny_window_lets_go(&confirms));
    cny_window_trickle(&confirms);
    assert_int_equal(CNY_WINDOW_TRICKLE, confirms.mode);
    assert_true(cny_window_lets_go(&confirms));
    have(MAX);
    assert_false(cny_window_lets_go(&confirms));
    cny_window_wait(&confirms);
    assert_int_equal(CNY_WINDOW_FULL, confirms.mode);
    confirms.unfinished = 0;
}

/* ---- the search ---- */

static void send_to(const char *exchange)
{
    coney_message *message = test_text("hello");
    const cny_publish publish = {.exchange = exchange, .routing_key = "key", .message = message};
    assert_ok(cny_confirms_reserve(&confirms));
    cny_confirms_add(&confirms, &publish);
    coney_message_unref(message);
}

static void close_channel(coney_status status, int code, const char *text)
{
    cny_error *reason = cny_error_new(status, code, "%s", text);
    cny_confirms_fail(&confirms, reason);
    cny_error_unref(reason);
}

static void test_loss_of_a_connection_searches_for_nothing(void **state)
{
    (void)state;
    send_to("a");
    close_channel(CONEY_E_LOST, 0, "gone");
    assert_int_equal(CNY_POISON_NONE, confirms.search);
    assert_int_equal(1, confirms.awaiting_resend);
    assert_int_equal(1, news);
}

static void test_end_by_the_program_leaves_nothing_to_resend(void **state)
{
    (void)state;
    send_to("a");
    close_channel(CONEY_E_CLOSED, 0, "closed by the program");
    assert_int_equal(CNY_POISON_NONE, confirms.search);
    assert_int_equal(0, confirms.awaiting_resend);
    assert_int_equal(0, news);
}

static void test_refusal_of_one_among_many_is_searched_for(void **state)
{
    (void)state;
    send_to("a");
    send_to("b");
    close_channel(CONEY_E_PRECONDITION_FAILED, 406, "406 PRECONDITION_FAILED - something");
    assert_int_equal(CNY_POISON_SOUGHT, confirms.search);
    assert_int_equal(2, confirms.awaiting_resend);
    cny_poison_release(&confirms);
    assert_int_equal(CNY_POISON_NONE, confirms.search);
}

static void test_refusal_of_the_only_message_finds_it(void **state)
{
    (void)state;
    send_to("a");
    close_channel(CONEY_E_PRECONDITION_FAILED, 406, "406 PRECONDITION_FAILED - something");
    assert_int_equal(CNY_POISON_FOUND, confirms.search);
    assert_int_equal(0, confirms.awaiting_resend);
    cny_poison_release(&confirms); /* another channel's search is over */
    assert_int_equal(CNY_POISON_FOUND, confirms.search);
}

static void test_refusal_that_names_the_message_finds_it(void **state)
{
    (void)state;
    send_to("a");
    send_to("b");
    close_channel(CONEY_E_NOT_FOUND, 404, "404 NOT_FOUND - no exchange 'b' in vhost '/'");
    assert_int_equal(CNY_POISON_FOUND, confirms.search);
    assert_int_equal(1, confirms.awaiting_resend);
}

/* The broker closed the connection, and this channel's message may be the reason. */
static void test_search_goes_on_when_the_connection_is_lost_over_it(void **state)
{
    (void)state;
    send_to("a");
    cny_poison_seek(&confirms);
    close_channel(CONEY_E_LOST, 541, "the broker closed the connection: 541 INTERNAL_ERROR");
    assert_int_equal(CNY_POISON_SOUGHT, confirms.search);
    assert_int_equal(1, confirms.awaiting_resend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_full_window_lets_nobody_go, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sender_learns_once_that_there_is_a_place, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nobody_learns_of_a_place_where_nobody_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trickle_lets_senders_go_until_the_window_is_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loss_of_a_connection_searches_for_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_end_by_the_program_leaves_nothing_to_resend, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_of_one_among_many_is_searched_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_of_the_only_message_finds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusal_that_names_the_message_finds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(test_search_goes_on_when_the_connection_is_lost_over_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
