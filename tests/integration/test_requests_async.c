/* SPDX-License-Identifier: MIT */
/* Requests that are awaited by a handle or a callback, many at a time, and their end when the program, the connection
 * or the factory ends them. */
#include "support/answering.h"

#include <stdio.h>

/* ---- callbacks ---- */

static atomic_int ended, answered;
static coney_status last_status;

static void on_end(coney_message *reply, const coney_error *error, void *user)
{
    check(user == &ended);
    check(!reply == (error && error->status != CONEY_E_REMOTE_ERROR));
    last_status = error ? error->status : CONEY_OK;
    atomic_fetch_add(&answered, !error);
    atomic_fetch_add(&ended, 1);
}

static void ask_async(const char *text, int timeout_ms)
{
    coney_message *request = test_text(text);
    assert_ok(coney_template_request_async(asker, NULL, request, &(coney_request_options){.timeout_ms = timeout_ms},
                                           on_end, &ended));
    coney_message_unref(request);
}

static int setup(void **state)
{
    atomic_store(&ended, 0);
    atomic_store(&answered, 0);
    return answering_setup(state);
}

#define async_test(function) cmocka_unit_test_setup_teardown(function, setup, answering_teardown)

static void test_callback_hears_of_the_reply(void **state)
{
    (void)state;
    answering_use(NULL);
    ask_async("echo x", 0);
    test_wait_for(&ended, 1);
    assert_int_equal(last_status, CONEY_OK);
}

static void test_callback_hears_of_an_error_reply(void **state)
{
    (void)state;
    answering_use(NULL);
    ask_async("error BUSY", 0);
    test_wait_for(&ended, 1);
    assert_int_equal(last_status, CONEY_E_REMOTE_ERROR);
}

static void test_callback_hears_of_the_deadline(void **state)
{
    (void)state;
    answering_use(NULL);
    ask_async("nothing", 100);
    test_wait_for(&ended, 1);
    assert_int_equal(last_status, CONEY_E_TIMEOUT);
    assert_int_equal(answering_statistics().in_flight, 0);
}

static void ask_in_callback(coney_message *reply, const coney_error *error, void *user)
{
    check(reply && !error);
    check(user == &ended);
    coney_message *request = test_text("echo inner"), *inner;
    check(coney_template_send_and_receive(asker, &inner, NULL, request, NULL) == CONEY_OK);
    coney_message_unref(inner);
    coney_message_unref(request);
    atomic_fetch_add(&ended, 1);
}

static void test_callback_may_ask_and_wait(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_message *request = test_text("echo outer");
    assert_ok(coney_template_request_async(asker, NULL, request, NULL, ask_in_callback, &ended));
    coney_message_unref(request);
    test_wait_for(&ended, 1);
}

static void test_thousands_share_a_handful_of_channels(void **state)
{
    (void)state;
    enum { COUNT = 2500 };
    answering_use(&(coney_rpc_options){.timeout_ms = 2 * TEST_PATIENCE_MS, .idle_ms = 200});
    for (int i = 0; i < COUNT; i++)
        ask_async("hold", 0);
    assert_int_equal(answering_statistics().in_flight, COUNT);
    assert_int_equal(answering_statistics().channels, 3);
    answering_answer_held(COUNT, "all");
    test_wait_for(&ended, COUNT);
    assert_int_equal(atomic_load(&answered), COUNT);
    test_wait_until(answering_statistics().channels == 0);
    assert_string_equal(answering_ask("echo after", 0), "after");
}

static void test_places_come_back_after_many_timeouts(void **state)
{
    (void)state;
    enum { COUNT = 20 };
    answering_use(&(coney_rpc_options){.max_per_channel = 2, .max_outstanding = COUNT});
    for (int round = 1; round <= 3; round++) {
        for (int i = 0; i < COUNT; i++)
            ask_async("nothing", 50);
        test_wait_for(&ended, round * COUNT);
    }
    assert_int_equal(answering_statistics().timed_out, 3 * COUNT);
    assert_int_in_range((int)answering_statistics().channels, 1, COUNT / 2);
    assert_string_equal(answering_ask("echo after", 0), "after");
}

/* ---- handles ---- */

static void test_handle_tells_reply_and_confirm(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request *request = answering_begin("hold", 0);
    test_wait_until(coney_request_is_confirmed(request));
    assert_false(coney_request_is_done(request));
    assert_null(coney_request_reply(request));
    assert_null(coney_request_error(request));
    assert_fails(coney_request_wait(request, 0), CONEY_E_TIMEOUT, "has not ended yet");
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(request, TEST_PATIENCE_MS));
    assert_true(coney_request_is_done(request));
    assert_memory_equal(coney_message_body(coney_request_reply(request)), "good", 4);
    assert_null(coney_request_error(request));
    coney_request_free(request);
}

static void test_handle_tells_the_error(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request *request = answering_begin("nothing", 100);
    assert_fails(coney_request_wait(request, TEST_PATIENCE_MS), CONEY_E_TIMEOUT, "no reply within");
    assert_true(coney_request_is_done(request));
    assert_int_equal(coney_request_error(request)->status, CONEY_E_TIMEOUT);
    coney_request_free(request);
}

static void test_first_of_several_can_be_waited_for(void **state)
{
    (void)state;
    size_t index;
    answering_use(NULL);
    coney_request *requests[] = {answering_begin("hold", 0), NULL, answering_begin("echo x", 0)};
    assert_ok(coney_request_wait_any(requests, 3, &index, TEST_PATIENCE_MS));
    assert_int_equal(index, 2);
    coney_request_free(requests[2]);
    requests[2] = NULL;
    assert_fails(coney_request_wait_any(requests, 3, &index, 10), CONEY_E_TIMEOUT, "none has ended");
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait_any(requests, 3, &index, TEST_PATIENCE_MS));
    assert_int_equal(index, 0);
    coney_request_free(requests[0]);
    requests[0] = NULL;
    assert_fails(coney_request_wait_any(requests, 3, &index, 10), CONEY_E_INVALID, "no request to wait for");
}

static void test_all_of_several_can_be_waited_for(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request *requests[] = {answering_begin("echo a", 0), answering_begin("error B", 0),
                                 answering_begin("echo c", 0)};
    assert_ok(coney_request_wait_all(requests, 0, 0));
    assert_fails(coney_request_wait_all(requests, 3, TEST_PATIENCE_MS), CONEY_E_REMOTE_ERROR, "request 1 of 3");
    for (size_t i = 0; i < 3; i++)
        coney_request_free(requests[i]);
}

static void test_cancelled_request_ends_once(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request *request = answering_begin("hold", 0);
    coney_request_cancel(request);
    coney_request_cancel(request);
    assert_fails(coney_request_wait(request, 0), CONEY_E_CANCELLED, "was cancelled");
    answering_answer_held(1, "late");
    test_wait_until(answering_statistics().late_replies == 1);
    assert_int_equal(answering_statistics().cancelled, 1);
    coney_request_free(request);
}

static void test_handle_may_be_freed_before_the_reply(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request_free(answering_begin("hold", 0));
    assert_int_equal(answering_statistics().in_flight, 0);
    answering_answer_held(1, "late");
    test_wait_until(answering_statistics().late_replies == 1);
}

static void test_handle_may_outlive_its_template(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_request *answered_one = answering_begin("echo x", 0), *held = answering_begin("hold", 0);
    test_wait_until(coney_request_is_done(answered_one));
    coney_template_free(asker);
    asker = NULL;
    assert_ok(coney_request_wait(answered_one, 0));
    assert_fails(coney_request_wait(held, 0), CONEY_E_CLOSED, "the template was freed");
    coney_request_free(answered_one);
    coney_request_free(held);
}

/* ---- the ends of other things ---- */

static void test_template_that_is_freed_ends_its_requests(void **state)
{
    (void)state;
    answering_use(NULL);
    ask_async("hold", 0);
    coney_template_free(asker);
    asker = NULL;
    assert_int_equal(atomic_load(&ended), 1);
    assert_int_equal(last_status, CONEY_E_CLOSED);
}

static void use_other_factory(coney_connection_factory **factory, int close_timeout_ms)
{
    assert_ok(coney_connection_factory_new(factory, test_uri(),
                                           &(coney_connection_factory_options){.close_timeout_ms = close_timeout_ms}));
    coney_template_free(asker);
    assert_ok(coney_template_new(&asker, *factory, &(coney_template_options){.routing_key = listening.queue}));
}

static void test_factory_that_is_closed_waits_for_replies(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    use_other_factory(&factory, TEST_PATIENCE_MS);
    ask_async("echo x", 0);
    assert_ok(coney_connection_factory_close(factory));
    assert_int_equal(atomic_load(&answered), 1);
    coney_template_free(asker);
    asker = NULL;
    coney_connection_factory_free(factory);
}

static void test_factory_that_is_closed_ends_requests_at_its_deadline(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    use_other_factory(&factory, 200);
    coney_request *request = answering_begin("nothing", TEST_PATIENCE_MS);
    assert_int_equal(coney_connection_factory_close(factory), CONEY_E_TIMEOUT);
    assert_fails(coney_request_wait(request, 0), CONEY_E_CLOSED, "closed");
    assert_fails(answering_status("echo x", 0), CONEY_E_CLOSED, "");
    coney_request_free(request);
    coney_template_free(asker);
    asker = NULL;
    coney_connection_factory_free(factory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        async_test(test_callback_hears_of_the_reply),
        async_test(test_callback_hears_of_an_error_reply),
        async_test(test_callback_hears_of_the_deadline),
        async_test(test_callback_may_ask_and_wait),
        async_test(test_thousands_share_a_handful_of_channels),
        async_test(test_places_come_back_after_many_timeouts),
        async_test(test_handle_tells_reply_and_confirm),
        async_test(test_handle_tells_the_error),
        async_test(test_first_of_several_can_be_waited_for),
        async_test(test_all_of_several_can_be_waited_for),
        async_test(test_cancelled_request_ends_once),
        async_test(test_handle_may_be_freed_before_the_reply),
        async_test(test_handle_may_outlive_its_template),
        async_test(test_template_that_is_freed_ends_its_requests),
        async_test(test_factory_that_is_closed_waits_for_replies),
        async_test(test_factory_that_is_closed_ends_requests_at_its_deadline),
    };
    return cmocka_run_group_tests_name("requests_async", tests, test_client_setup, test_client_teardown);
}
