/* SPDX-License-Identifier: MIT */
/* Scopes on a real broker: sends waited for together, and transactions. */
#include "support/test_support.h"

#include <pthread.h>
#include <stdio.h>

static const char *queue;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("scope");
    test_make_queue(queue);
    return 0;
}

static int teardown(void **state)
{
    test_delete_queue(queue);
    return test_client_teardown(state);
}

static coney_scope *scope;

static int free_scope(void **state)
{
    (void)state;
    if (scope)
        (void)coney_scope_wait_for_confirms(scope, 10000); /* so that nothing comes after the purge */
    coney_scope_free(scope);
    scope = NULL;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    return test_no_failed_checks(state);
}

static void open_scope(coney_scope_mode mode)
{
    assert_ok(coney_scope_new(&scope, client.sender, &(coney_scope_options){.mode = mode}));
}

static coney_status send_to(const char *exchange, const char *routing_key, const char *text)
{
    coney_message *message = test_text(text);
    coney_status status = coney_scope_send(scope, routing_key, message, &(coney_send_options){.exchange = exchange});
    coney_message_unref(message);
    return status;
}

static void put_in_queue(const char *text)
{
    coney_message *message = test_text(text);
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    coney_message_unref(message);
}

static uint32_t depth(void)
{
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    return info.message_count;
}

/* ---- confirmed ---- */

static void test_all_confirmed_is_ok(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_CONFIRMED);
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < 100; i++)
            assert_ok(send_to(NULL, queue, "x"));
        assert_ok(coney_scope_wait_for_confirms(scope, 10000));
        assert_int_equal(depth(), round * 100);
    }
}

static void test_returned_messages_are_counted_once(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_CONFIRMED);
    assert_ok(send_to(NULL, queue, "1"));
    assert_ok(send_to(NULL, "no-such-queue", "2"));
    assert_ok(send_to(NULL, "no-such-queue", "3"));
    assert_fails(coney_scope_wait_for_confirms(scope, 10000), CONEY_E_RETURNED, "2 of 3 messages were not confirmed");
    assert_int_equal(coney_last_error_details()->broker_code, 312);
    assert_ok(send_to(NULL, queue, "4"));
    assert_ok(coney_scope_wait_for_confirms(scope, 10000));
}

static void test_rejecting_queue_is_a_nack(void **state)
{
    (void)state;
    const char *full = test_name("full");
    coney_queue declared = {.name = full, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH};
    assert_ok(coney_admin_declare_queue(client.admin, &declared, NULL));
    open_scope(CONEY_SCOPE_CONFIRMED);
    for (int i = 0; i < 5; i++)
        assert_ok(send_to(NULL, full, "x"));
    assert_fails(coney_scope_wait_for_confirms(scope, 10000), CONEY_E_NACKED, "of 5 messages");
    test_delete_queue(full);
}

static void test_missing_exchange_ends_a_confirmed_scope(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_CONFIRMED);
    for (int i = 0; i < 10; i++)
        assert_ok(send_to(NULL, queue, "x"));
    assert_ok(send_to("none", queue, "x"));
    assert_fails(coney_scope_wait_for_confirms(scope, 10000), CONEY_E_NOT_FOUND, "no exchange 'none'");
    assert_fails(send_to(NULL, queue, "x"), CONEY_E_NOT_FOUND, "the scope has ended: 404");
    put_in_queue("the template goes on");
}

static void test_wrong_mode_is_named(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_CONFIRMED);
    assert_fails(coney_scope_commit(scope), CONEY_E_STATE, "commit: the scope is not transacted");
    assert_fails(coney_scope_rollback(scope), CONEY_E_STATE, "rollback: the scope is not transacted");
    coney_scope_free(scope);
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_fails(coney_scope_wait_for_confirms(scope, 0), CONEY_E_STATE, "use coney_scope_commit");
}

static void test_wrong_arguments_are_refused(void **state)
{
    (void)state;
    coney_scope *made;
    assert_fails(coney_scope_new(NULL, client.sender, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_scope_new(&made, NULL, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_scope_new(&made, client.sender, &(coney_scope_options){.mode = (coney_scope_mode)7}),
                 CONEY_E_INVALID, "mode is 7");
    assert_fails(coney_scope_new(&made, client.sender, &(coney_scope_options){.timeout_ms = -1}), CONEY_E_INVALID,
                 "timeout_ms is -1");
    assert_fails(coney_scope_commit(NULL), CONEY_E_INVALID, "scope is NULL");
    assert_fails(coney_scope_rollback(NULL), CONEY_E_INVALID, "scope is NULL");
    assert_fails(coney_scope_wait_for_confirms(NULL, 0), CONEY_E_INVALID, "scope is NULL");
    assert_fails(coney_scope_send(NULL, queue, NULL, NULL), CONEY_E_INVALID, "scope is NULL");
    coney_scope_free(NULL);
    open_scope(CONEY_SCOPE_CONFIRMED);
    assert_fails(coney_scope_send(scope, queue, NULL, NULL), CONEY_E_INVALID, "message is NULL");
    assert_fails(coney_scope_receive(scope, queue, NULL), CONEY_E_INVALID, "message is NULL");
    coney_message *message;
    assert_fails(coney_scope_receive(scope, NULL, &message), CONEY_E_INVALID, "receive_queue");
    assert_fails(send_to(NULL, "\xff", "x"), CONEY_E_INVALID, "not UTF-8");
    assert_fails(coney_scope_wait_for_confirms(scope, -1), CONEY_E_INVALID, "timeout_ms is -1");
    assert_ok(coney_scope_wait_for_confirms(scope, 0));
}

static void test_scope_outlives_its_template(void **state)
{
    (void)state;
    coney_template *other;
    assert_ok(coney_template_new(&other, client.factory, NULL));
    assert_ok(coney_scope_new(&scope, other, NULL));
    coney_template_free(other);
    assert_ok(send_to(NULL, queue, "x"));
    assert_ok(coney_scope_wait_for_confirms(scope, 10000));
}

static void test_failures_that_nobody_asks_about_are_logged(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    open_scope(CONEY_SCOPE_CONFIRMED);
    assert_ok(send_to(NULL, "no-such-queue", "x"));
    assert_ok(send_to("none", "x", "x"));
    while (send_to(NULL, queue, "x") == CONEY_OK)
        ;
    coney_scope_free(scope);
    scope = NULL;
    test_log_expect("nobody asked about");
    test_log_stop();
}

/* ---- transacted ---- */

static void test_commit_makes_all_visible_at_once(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    for (int i = 0; i < 20; i++)
        assert_ok(send_to(NULL, queue, "x"));
    assert_int_equal(depth(), 0);
    assert_ok(coney_scope_commit(scope));
    assert_int_equal(depth(), 20);
    assert_ok(coney_scope_commit(scope)); /* of nothing */
}

static void test_rollback_takes_back_what_was_sent(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, queue, "no"));
    assert_ok(coney_scope_rollback(scope));
    assert_ok(send_to(NULL, queue, "yes"));
    assert_ok(coney_scope_commit(scope));
    assert_int_equal(depth(), 1);
}

static void test_free_without_commit_is_a_rollback(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, queue, "no"));
    coney_scope_free(scope);
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(coney_scope_commit(scope));
    assert_int_equal(depth(), 0);
}

static void test_missing_exchange_fails_the_commit_and_all_is_rolled_back(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, queue, "1"));
    assert_ok(send_to("none", queue, "2"));
    assert_fails(coney_scope_commit(scope), CONEY_E_NOT_FOUND, "rolled back by the broker: 404 NOT_FOUND");
    assert_fails(send_to(NULL, queue, "3"), CONEY_E_NOT_FOUND, "rolled back by the broker: 404 NOT_FOUND");
    assert_fails(coney_scope_rollback(scope), CONEY_E_NOT_FOUND, "rolled back by the broker");
    assert_fails(coney_scope_commit(scope), CONEY_E_NOT_FOUND, "rolled back by the broker");
    assert_int_equal(depth(), 0);
}

static void test_commit_tells_what_came_back_and_keeps_the_rest(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, queue, "1"));
    assert_ok(send_to(NULL, "no-such-queue", "2"));
    assert_ok(send_to(NULL, queue, "3"));
    assert_fails(coney_scope_commit(scope), CONEY_E_RETURNED, "committed, but 1 message came back: 312 NO_ROUTE");
    assert_int_equal(depth(), 2);
    assert_ok(coney_scope_commit(scope));
}

static void test_commit_says_so_if_a_queue_refuses_its_part(void **state)
{
    (void)state;
    const char *full = test_name("full");
    coney_queue declared = {.name = full, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH};
    assert_ok(coney_admin_declare_queue(client.admin, &declared, NULL));
    open_scope(CONEY_SCOPE_TRANSACTED);
    for (int i = 0; i < 5; i++)
        assert_ok(send_to(NULL, full, "x"));
    assert_fails(coney_scope_commit(scope), CONEY_E_PRECONDITION_FAILED, "part of the transaction may have");
    test_delete_queue(full);
}

static void test_rolled_back_messages_do_not_come_back(void **state)
{
    (void)state;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, "no-such-queue", "2"));
    assert_ok(coney_scope_rollback(scope));
    assert_ok(coney_scope_commit(scope));
}

/* ---- receiving in a scope ---- */

static void expect_received(const char *text, bool redelivered)
{
    coney_message *message;
    assert_ok(coney_scope_receive(scope, queue, &message));
    assert_non_null(message);
    assert_string_equal(coney_message_body(message), text);
    assert_int_equal(coney_message_redelivered(message), redelivered);
    coney_message_unref(message);
}

static void expect_nothing(void)
{
    coney_message *message;
    assert_ok(coney_scope_receive(scope, queue, &message));
    assert_null(message);
}

static void test_commit_acknowledges_what_was_received(void **state)
{
    (void)state;
    put_in_queue("1");
    put_in_queue("2");
    open_scope(CONEY_SCOPE_TRANSACTED);
    expect_received("1", false);
    expect_received("2", false);
    expect_nothing();
    assert_ok(coney_scope_commit(scope));
    coney_scope_free(scope);
    open_scope(CONEY_SCOPE_TRANSACTED);
    expect_nothing();
}

static void test_rollback_puts_back_what_was_received(void **state)
{
    (void)state;
    put_in_queue("1");
    put_in_queue("2");
    open_scope(CONEY_SCOPE_TRANSACTED);
    expect_received("1", false);
    expect_received("2", false);
    assert_ok(send_to(NULL, queue, "forwarded"));
    assert_ok(coney_scope_rollback(scope));
    test_wait_for_depth(queue, 2);
    expect_received("1", true);
    assert_ok(coney_scope_commit(scope));
    assert_ok(coney_scope_rollback(scope)); /* of nothing: what is committed stays so */
    expect_received("2", true);
    expect_nothing();
}

static void test_free_without_commit_puts_back_what_was_received(void **state)
{
    (void)state;
    put_in_queue("1");
    open_scope(CONEY_SCOPE_TRANSACTED);
    expect_received("1", false);
    coney_scope_free(scope);
    scope = NULL;
    test_wait_for_depth(queue, 1);
}

/* Over another channel, and at once. */
static void expect_all_there(const char *own, int messages)
{
    open_scope(CONEY_SCOPE_TRANSACTED);
    for (int i = 0; i < messages; i++) {
        coney_message *message;
        assert_ok(coney_scope_receive(scope, own, &message));
        if (!message)
            fail_msg("message %d of %d is not there", i, messages);
        coney_message_unref(message);
    }
    coney_scope_free(scope);
    scope = NULL;
}

static void expect_all_back_after_each_free(coney_queue_kind kind)
{
    enum { ROUNDS = 15, MESSAGES = 20 };
    const char *own = test_name("given back");
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = own, .kind = kind}, NULL));
    test_send_numbers(own, MESSAGES);
    for (int i = 0; i < ROUNDS; i++)
        expect_all_there(own, MESSAGES);
    test_delete_queue(own);
}

static void test_free_returns_when_what_was_received_is_back(void **state)
{
    (void)state;
    expect_all_back_after_each_free(CONEY_CLASSIC);
}

static void test_free_returns_when_what_was_received_from_a_quorum_queue_is_back(void **state)
{
    (void)state;
    expect_all_back_after_each_free(CONEY_QUORUM);
}

static void test_confirmed_scope_acknowledges_at_once(void **state)
{
    (void)state;
    put_in_queue("1");
    open_scope(CONEY_SCOPE_CONFIRMED);
    expect_received("1", false);
    expect_nothing();
    coney_scope_free(scope);
    open_scope(CONEY_SCOPE_CONFIRMED);
    expect_nothing();
}

static void test_missing_queue_ends_the_scope(void **state)
{
    (void)state;
    coney_message *message;
    open_scope(CONEY_SCOPE_TRANSACTED);
    assert_ok(send_to(NULL, queue, "x"));
    assert_fails(coney_scope_receive(scope, "none", &message), CONEY_E_NOT_FOUND, "no queue 'none'");
    assert_fails(coney_scope_commit(scope), CONEY_E_NOT_FOUND, "rolled back by the broker");
    assert_int_equal(depth(), 0);
}

/* ---- threads ---- */

enum { THREADS = 4, EACH = 100 };

static void *send_in_own_scope(void *unused)
{
    (void)unused;
    coney_scope *own = NULL;
    coney_message *message = NULL;
    check(coney_message_new(&message, "x", 1, NULL) == CONEY_OK);
    check(coney_scope_new(&own, client.sender, NULL) == CONEY_OK);
    for (int i = 0; i < EACH; i++)
        check(coney_scope_send(own, queue, message, NULL) == CONEY_OK);
    check(coney_scope_wait_for_confirms(own, 10000) == CONEY_OK);
    coney_scope_free(own);
    coney_message_unref(message);
    return NULL;
}

static void test_threads_have_scopes_of_their_own(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_in_own_scope, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(depth(), THREADS * EACH);
}

#define scope_test(function) cmocka_unit_test_teardown(function, free_scope)

int main(void)
{
    const struct CMUnitTest tests[] = {
        scope_test(test_all_confirmed_is_ok),
        scope_test(test_returned_messages_are_counted_once),
        scope_test(test_rejecting_queue_is_a_nack),
        scope_test(test_missing_exchange_ends_a_confirmed_scope),
        scope_test(test_wrong_mode_is_named),
        scope_test(test_wrong_arguments_are_refused),
        scope_test(test_scope_outlives_its_template),
        scope_test(test_failures_that_nobody_asks_about_are_logged),
        scope_test(test_commit_makes_all_visible_at_once),
        scope_test(test_rollback_takes_back_what_was_sent),
        scope_test(test_free_without_commit_is_a_rollback),
        scope_test(test_missing_exchange_fails_the_commit_and_all_is_rolled_back),
        scope_test(test_commit_tells_what_came_back_and_keeps_the_rest),
        scope_test(test_commit_says_so_if_a_queue_refuses_its_part),
        scope_test(test_rolled_back_messages_do_not_come_back),
        scope_test(test_commit_acknowledges_what_was_received),
        scope_test(test_rollback_puts_back_what_was_received),
        scope_test(test_free_without_commit_puts_back_what_was_received),
        scope_test(test_free_returns_when_what_was_received_is_back),
        scope_test(test_free_returns_when_what_was_received_from_a_quorum_queue_is_back),
        scope_test(test_confirmed_scope_acknowledges_at_once),
        scope_test(test_missing_queue_ends_the_scope),
        scope_test(test_threads_have_scopes_of_their_own),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
