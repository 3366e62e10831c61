/* SPDX-License-Identifier: MIT */
/* Wrong use that needs a broker: what is freed by the program's code that it runs, and NULL for arguments of things
 * that only a connection gives. */
#include "support/container_fixture.h"
#include "support/refusal.h"

/* ---- a container that is freed by its own handler or event ---- */

static coney_outcome free_container(coney_delivery *delivery, void *user)
{
    coney_container_free(here.container);
    return test_handle(delivery, user);
}

static void test_container_that_its_handler_frees_stays_and_the_log_says_what_to_do(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = free_container});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 2);
    test_wait_for(&here.handler.calls, 2);
    test_log_expect("coney_container_free called by a handler of container");
    test_log_expect("stop it here and free it on another thread");
    assert_true(test_health().ready);
}

static atomic_int freed_in_event;

static void free_container_in_event(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind != CONEY_CONSUMER_STARTED)
        return;
    coney_container_free(here.container);
    atomic_store(&freed_in_event, 1);
}

static void test_container_that_its_event_frees_stays(void **state)
{
    (void)state;
    freed_in_event = 0;
    test_log_start(CONEY_LOG_ERROR);
    test_use_container(&(coney_container_options){.on_event = free_container_in_event});
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_start(here.container));
    test_wait_for(&freed_in_event, 1);
    test_log_expect("coney_container_free called by");
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
}

static coney_outcome unlisten(coney_delivery *delivery, void *user)
{
    check(coney_container_unlisten(here.container, coney_delivery_listener_id(delivery)) == CONEY_OK);
    return test_handle(delivery, user);
}

static void test_listener_that_its_handler_removes_ends_after_the_handler(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = unlisten});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
    test_wait_for_consumers(here.queue, 0);
    test_wait_for_depth(here.queue, 0);
    assert_ok(coney_container_listen(
        here.container, &(coney_listener){.queue = here.queue, .on_message = test_handle, .user = &here.handler}));
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 2);
}

/* ---- a scope that is freed during a call on it ---- */

static coney_status free_scope(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message, (void)exchange, (void)routing_key;
    coney_scope_free(*(coney_scope **)user);
    return CONEY_OK;
}

static void test_scope_that_a_processor_of_its_own_send_frees_stays(void **state)
{
    (void)state;
    coney_scope *scope;
    const coney_processor processor = {.name = "frees", .process = free_scope, .user = &scope};
    coney_template *sender;
    test_log_start(CONEY_LOG_ERROR);
    assert_ok(coney_template_new(&sender, client.factory, NULL));
    assert_ok(coney_template_add_before_publish(sender, &processor));
    assert_ok(coney_scope_new(&scope, sender, NULL));
    coney_message *message = test_text("x");
    assert_ok(coney_scope_send(scope, here.queue, message, NULL));
    test_log_expect("coney_scope_free called during another call");
    assert_ok(coney_scope_wait_for_confirms(scope, TEST_PATIENCE_MS));
    coney_scope_free(scope);
    coney_message_unref(message);
    coney_template_free(sender);
}

static atomic_int frees;

static coney_status free_batching(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message, (void)exchange, (void)routing_key;
    coney_batching_template_free(*(coney_batching_template **)user);
    atomic_fetch_add(&frees, 1);
    return CONEY_OK;
}

static void test_batching_template_that_a_processor_on_its_thread_frees_stays(void **state)
{
    (void)state;
    coney_batching_template *batching;
    const coney_processor processor = {.name = "frees", .process = free_batching, .user = &batching};
    coney_template *sender;
    test_log_start(CONEY_LOG_ERROR);
    assert_ok(coney_template_new(&sender, client.factory, NULL));
    assert_ok(coney_template_add_before_publish(sender, &processor));
    assert_ok(coney_batching_template_new(&batching, sender, &(coney_batching_options){.timeout_ms = 10}));
    coney_message *message = test_text("x");
    assert_ok(coney_batching_template_send(batching, here.queue, message, NULL, NULL, NULL));
    coney_message_unref(message);
    test_wait_for(&frees, 1);
    test_log_expect("coney_batching_template_free called by a send callback, or by a processor");
    coney_batching_template_free(batching);
    coney_template_free(sender);
}

/* ---- a callback that fails without a sentence ---- */

static coney_status fail_silently(coney_message *request, coney_message **reply, void *user)
{
    (void)request, (void)reply, (void)user;
    return CONEY_E_SYSTEM; /* the status of the spoiled last error, so that nothing but its age tells */
}

static void test_reply_callback_that_says_nothing_is_not_given_the_words_of_an_earlier_failure(void **state)
{
    (void)state;
    const coney_reply_options patient = {.timeout_ms = TEST_PATIENCE_MS};
    test_send(here.queue, 1);
    test_spoil_last_error();
    assert_fails(coney_template_receive_and_reply(client.sender, here.queue, &patient, NULL, fail_silently, NULL),
                 CONEY_E_SYSTEM, "it returned SYSTEM and does not say why");
    assert_true(test_said(CONEY_E_SYSTEM));
}

/* ---- NULL ---- */

#define refuses(argument, call) expect_refusal((test_spoil_last_error(), (call)), argument)

static void expect_refusal(coney_status got, const char *argument)
{
    check(got == CONEY_E_INVALID);
    check(test_said(CONEY_E_INVALID));
    check(strstr(coney_last_error(), argument));
}

static coney_outcome give_null(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    coney_message *message = coney_delivery_message(delivery);
    refuses("exchange", coney_delivery_send(delivery, NULL, "", message));
    refuses("routing_key", coney_delivery_send(delivery, "", NULL, message));
    refuses("message", coney_delivery_send(delivery, "", "", NULL));
    refuses("reply", coney_delivery_reply(delivery, NULL));
    refuses("object", coney_delivery_convert_and_reply(delivery, NULL));
    coney_delivery_set_reply(delivery, NULL);
    bool is_first = atomic_fetch_add(&handler->calls, 1) == 0;
    return is_first ? coney_delivery_fail(delivery, CONEY_REQUEUE, NULL) : CONEY_ACK;
}

static void test_delivery_refuses_null_with_the_name_of_the_argument(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = give_null});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 2);
}

static void test_scope_refuses_null_with_the_name_of_the_argument(void **state)
{
    (void)state;
    coney_scope *scope;
    coney_message *message = NULL;
    assert_ok(coney_scope_new(&scope, client.sender, NULL));
    refuses("message", coney_scope_send(scope, here.queue, NULL, NULL));
    refuses("message", coney_scope_receive(scope, here.queue, NULL));
    refuses("queue", coney_scope_receive(scope, NULL, &message));
    coney_scope_free(scope);
}

static void test_place_for_the_info_of_a_queue_may_be_null(void **state)
{
    (void)state;
    assert_ok(coney_admin_queue_info(client.admin, here.queue, NULL));
    assert_fails(coney_admin_queue_info(client.admin, here.other, NULL), CONEY_E_NOT_FOUND, here.other);
}

#define wrong_use_test(function)                                                                                       \
    cmocka_unit_test_setup_teardown(function, test_listening_setup, test_listening_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        wrong_use_test(test_container_that_its_handler_frees_stays_and_the_log_says_what_to_do),
        wrong_use_test(test_container_that_its_event_frees_stays),
        wrong_use_test(test_listener_that_its_handler_removes_ends_after_the_handler),
        wrong_use_test(test_scope_that_a_processor_of_its_own_send_frees_stays),
        wrong_use_test(test_batching_template_that_a_processor_on_its_thread_frees_stays),
        wrong_use_test(test_reply_callback_that_says_nothing_is_not_given_the_words_of_an_earlier_failure),
        wrong_use_test(test_delivery_refuses_null_with_the_name_of_the_argument),
        wrong_use_test(test_scope_refuses_null_with_the_name_of_the_argument),
        wrong_use_test(test_place_for_the_info_of_a_queue_may_be_null),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
