/* SPDX-License-Identifier: MIT */
/* Where replies come to: direct reply-to, temporary and fixed queues, headers for the id; and what becomes of requests
 * when a connection or the queue is lost. */
#include "support/answering.h"
#include "support/container_fixture.h"

#include <pthread.h>
#include <stdio.h>

/* ---- queues ---- */

static void test_reply_comes_to_a_temporary_queue(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.reply_path = CONEY_REPLY_TEMPORARY_QUEUE});
    assert_string_equal(answering_ask("echo x", 0), "x");
    const char *address = coney_message_properties(answering_last())->reply_to;
    char queue[256];
    snprintf(queue, sizeof queue, "%s", address);
    assert_memory_equal(queue, "coney.reply.", 12);
    assert_string_equal(answering_ask("echo y", 0), "y");
    assert_string_equal(coney_message_properties(answering_last())->reply_to, queue);
    coney_template_free(asker);
    asker = NULL;
    coney_queue_info info;
    test_wait_until(coney_admin_queue_info(client.admin, queue, &info) == CONEY_E_NOT_FOUND);
}

static void test_reply_comes_to_a_fixed_queue(void **state)
{
    (void)state;
    const char *replies = listening_make_other_queue("replies");
    answering_use(&(coney_rpc_options){.reply_queue = replies});
    assert_string_equal(answering_ask("echo x", 0), "x");
    assert_string_equal(coney_message_properties(answering_last())->reply_to, replies);
    assert_int_equal(answering_statistics().channels, 1);
    test_wait_for_depth(replies, 0);
}

static void test_fixed_queue_may_be_bound_elsewhere(void **state)
{
    (void)state;
    const char *replies = listening_make_other_queue("replies");
    char address[300];
    snprintf(address, sizeof address, "amq.direct/%.200s", replies);
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = "amq.direct", .destination = replies, .routing_key = replies}));
    answering_use(&(coney_rpc_options){.reply_queue = replies, .reply_address = address});
    assert_string_equal(answering_ask("echo x", 0), "x");
    assert_string_equal(coney_message_properties(answering_last())->reply_to, address);
}

static void test_late_reply_in_a_fixed_queue_is_dead_lettered(void **state)
{
    (void)state;
    const char *replies = listening_other_queue("replies");
    assert_ok(coney_admin_declare_queue(
        client.admin,
        &(coney_queue){.name = replies, .dead_letter_exchange = "", .dead_letter_routing_key = listening.dead}, NULL));
    answering_use(&(coney_rpc_options){.reply_queue = replies});
    assert_int_equal(answering_status("hold", 100), CONEY_E_TIMEOUT);
    answering_answer_held(1, "late");
    test_wait_for_depth(listening.dead, 1);
    assert_string_equal(answering_ask("echo x", 0), "x");
    coney_message *dead;
    assert_ok(coney_template_receive(client.sender, listening.dead, &dead, 0));
    coney_message_unref(dead);
}

static void test_fixed_queue_that_is_missing_is_told_at_once(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.reply_queue = "coney.test.no.replies", .timeout_ms = TEST_PATIENCE_MS});
    assert_fails(answering_status("echo x", 0), CONEY_E_NOT_FOUND, "'coney.test.no.replies'");
    assert_int_equal(atomic_load(&answering_seen), 0);
}

static void test_fixed_queue_belongs_to_one_template(void **state)
{
    (void)state;
    const char *replies = listening_make_other_queue("replies");
    coney_template *other;
    coney_message *request = test_text("echo x"), *reply;
    answering_use(&(coney_rpc_options){.reply_queue = replies});
    assert_non_null(answering_ask("echo x", 0));
    assert_ok(coney_template_new(
        &other, client.factory, &(coney_template_options){.routing_key = listening.queue, .rpc.reply_queue = replies}));
    assert_fails(coney_template_send_and_receive(other, &reply, NULL, request, NULL), CONEY_E_ACCESS_REFUSED, replies);
    coney_message_unref(request);
    coney_template_free(other);
}

/* ---- ids in a header ---- */

static coney_outcome answer_with_header(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *request = coney_delivery_message(delivery), *text = test_text("by header"), *reply;
    check_text(coney_message_properties(request)->correlation_id, "program's");
    const coney_value *id = coney_message_header(request, "my-id");
    check(id != NULL);
    check(coney_message_with_header(&reply, text, "my-id", id) == CONEY_OK);
    coney_message_unref(text);
    coney_delivery_set_reply(delivery, reply);
    return CONEY_ACK;
}

static void test_id_may_be_in_a_header(void **state)
{
    (void)state;
    listening_stop();
    listening_start(&(coney_listener){.on_message = answer_with_header});
    answering_use(&(coney_rpc_options){.correlation_header = "my-id"});
    coney_message *request, *reply;
    assert_ok(coney_message_new(&request, "x", 1, &(coney_properties){.correlation_id = "program's"}));
    assert_ok(coney_template_send_and_receive(asker, &reply, NULL, request, NULL));
    assert_memory_equal(coney_message_body(reply), "by header", 9);
    coney_message_unref(reply);
    coney_message_unref(request);
}

/* ---- losses ---- */

static void use_own_connection(const coney_rpc_options *options, coney_connection_factory **factory)
{
    assert_ok(coney_connection_factory_new(factory, test_uri(), NULL));
    coney_template_free(asker);
    assert_ok(coney_template_new(&asker, *factory,
                                 &(coney_template_options){.routing_key = listening.queue, .rpc = *options}));
}

static void free_own_connection(coney_connection_factory *factory)
{
    coney_template_free(asker);
    asker = NULL;
    coney_connection_factory_free(factory);
}

static void test_lost_connection_ends_requests_once_and_the_next_ones_work(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    use_own_connection(&(coney_rpc_options){.timeout_ms = TEST_PATIENCE_MS}, &factory);
    coney_request *requests[20];
    for (size_t i = 0; i < COUNT_OF(requests); i++)
        requests[i] = answering_begin("hold", 0);
    for (size_t i = 0; i < COUNT_OF(requests); i++)
        test_wait_until(coney_request_is_confirmed(requests[i]));
    test_kill_connections();
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        assert_fails(coney_request_wait(requests[i], TEST_PATIENCE_MS), CONEY_E_LOST, "may have been handled");
        coney_request_free(requests[i]);
    }
    assert_string_equal(answering_ask("echo x", 0), "x");
    assert_int_equal(answering_statistics().lost, COUNT_OF(requests));
    assert_int_equal(answering_statistics().in_flight, 0);
    assert_int_equal(answering_statistics().channels, 1);
    free_own_connection(factory);
}

static void test_confirmed_request_with_a_fixed_queue_survives_a_loss(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    const char *replies = listening_make_other_queue("replies");
    use_own_connection(&(coney_rpc_options){.timeout_ms = TEST_PATIENCE_MS, .reply_queue = replies}, &factory);
    coney_request *request = answering_begin("hold", 0);
    test_wait_until(coney_request_is_confirmed(request));
    test_kill_connections();
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(request, TEST_PATIENCE_MS));
    coney_request_free(request);
    free_own_connection(factory);
}

static atomic_int callers_left;

static void *ask_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < 200; i++) {
        coney_message *request = test_text("echo x"), *reply;
        coney_template_send_and_receive(asker, &reply, NULL, request, &(coney_request_options){.timeout_ms = 300});
        coney_message_unref(reply);
        coney_message_unref(request);
    }
    atomic_fetch_sub(&callers_left, 1);
    return NULL;
}

static void test_fixed_queue_is_repaired_while_many_ask(void **state)
{
    (void)state;
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    coney_connection_factory *factory;
    const char *replies = listening_make_other_queue("replies");
    use_own_connection(&(coney_rpc_options){.reply_queue = replies}, &factory);
    atomic_store(&callers_left, THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, NULL), 0);
    for (int i = 0; i < 3 && atomic_load(&callers_left) > 0; i++)
        test_kill_connections();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    coney_rpc_statistics now = answering_statistics();
    assert_int_equal(now.in_flight, 0);
    assert_int_equal(now.sent, now.replied + now.timed_out + now.lost);
    free_own_connection(factory);
}

static void test_reply_queue_that_is_made_again_is_consumed_again(void **state)
{
    (void)state;
    const char *replies = listening_make_other_queue("replies");
    answering_use(&(coney_rpc_options){.reply_queue = replies, .timeout_ms = TEST_PATIENCE_MS});
    coney_request *request = answering_begin("hold", 0);
    test_wait_for(&answering_seen, 1);
    test_delete_queue(replies);
    test_make_queue(replies);
    test_wait_for_consumers(replies, 1);
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(request, TEST_PATIENCE_MS));
    coney_request_free(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        answering_test(test_reply_comes_to_a_temporary_queue),
        answering_test(test_reply_comes_to_a_fixed_queue),
        answering_test(test_fixed_queue_may_be_bound_elsewhere),
        answering_test(test_late_reply_in_a_fixed_queue_is_dead_lettered),
        answering_test(test_fixed_queue_that_is_missing_is_told_at_once),
        answering_test(test_fixed_queue_belongs_to_one_template),
        answering_test(test_id_may_be_in_a_header),
        answering_test(test_lost_connection_ends_requests_once_and_the_next_ones_work),
        answering_test(test_confirmed_request_with_a_fixed_queue_survives_a_loss),
        answering_test(test_fixed_queue_is_repaired_while_many_ask),
        answering_test(test_reply_queue_that_is_made_again_is_consumed_again),
    };
    return cmocka_run_group_tests_name("reply_paths", tests, test_client_setup, test_client_teardown);
}
