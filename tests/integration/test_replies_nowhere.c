/* SPDX-License-Identifier: MIT */
/* Replies to an exchange that does not exist. A request's reply_to is its sender's affair, so that the request is
 * handled all the same; what the listener says is the program's, and a failure. */
#include "support/listening.h"

#define NOWHERE "no-such-exchange/key"

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *reply;
    check(coney_message_new(&reply, "the answer", 10, NULL) == CONEY_OK);
    coney_status status = coney_delivery_reply(delivery, reply);
    coney_message_unref(reply);
    check(status == CONEY_OK);
    listening_note(delivery);
    return CONEY_ACK;
}

/* Fails as the text says, with a reply before. */
static coney_outcome answer_and_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    if (strncmp(listening_text(delivery, text), "ack", 3) == 0)
        return answer(delivery, user);
    return listening_obey(delivery, user);
}

static void expect_request_is_gone(void)
{
    test_wait_until(listening_statistics().acknowledged == 1);
    assert_int_equal(listening_statistics().failed, 0);
    assert_int_equal(listening.count, 1);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

static void test_request_with_an_exchange_that_does_not_exist_is_acknowledged(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = NOWHERE});
    expect_request_is_gone();
}

static void test_log_tells_whose_reply_reaches_nobody(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = NOWHERE, .message_id = "m-1"});
    expect_request_is_gone();
    test_log_expect("the reply to message 'm-1' reaches nobody");
    test_log_expect("no exchange 'no-such-exchange'");
}

static coney_outcome leave(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    coney_message *reply;
    check(coney_message_new(&reply, "the answer", 10, NULL) == CONEY_OK);
    coney_delivery_set_reply(delivery, reply);
    return CONEY_ACK;
}

static void test_request_whose_reply_is_left_to_the_container_is_acknowledged(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = leave});
    listening_send_with("question", &(coney_properties){.reply_to = NOWHERE});
    expect_request_is_gone();
}

/* The broker closes the channel of such a reply, and what else is on it is lost. */
static void test_ladder_is_not_disturbed(void **state)
{
    (void)state;
    enum { EACH = 30, ACKNOWLEDGED = 3 * EACH };
    const char *parking = listening_other_queue("parking");
    listening_other_queue("retry.50");
    listening_start(&(coney_listener){.on_message = answer_and_obey, .concurrency = 4, .retry = {.delays_ms = {50}}});
    for (int i = 0; i < EACH; i++) {
        listening_send("fail");
        listening_send_with("ack", &(coney_properties){.reply_to = NOWHERE});
    }
    test_wait_for_depth(parking, EACH);
    test_wait_until(listening_statistics().acknowledged == ACKNOWLEDGED);
    assert_int_equal(listening_calls_of("fail"), 2 * EACH);
    assert_int_equal(listening_statistics().requeued, 0);
}

/* ---- a queue that refuses replies ---- */

static const char *make_full_queue(void)
{
    const char *name = listening_other_queue("full");
    test_delete_queue(name);
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = name, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH}, NULL));
    listening_send_to("", name, "fills it", NULL);
    return name;
}

/* Handled again and again before, with all that its handler does. */
static void test_request_whose_reply_queue_is_full_is_handled_once(void **state)
{
    (void)state;
    const char *full = make_full_queue();
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = full, .message_id = "m-1"});
    expect_request_is_gone();
    test_log_expect("the reply to message 'm-1' reaches nobody");
    test_wait_for_depth(full, 1);
}

static void test_others_do_not_pay_for_replies_to_an_exchange_that_does_not_exist(void **state)
{
    (void)state;
    enum { FORGED = 100, HONEST = 20 };
    const char *inbox = listening_make_other_queue("inbox");
    for (int i = 0; i < FORGED; i++) {
        if (i % (FORGED / HONEST) == 0)
            listening_send_with("honest", &(coney_properties){.reply_to = inbox});
        listening_send_with("forged", &(coney_properties){.reply_to = NOWHERE});
    }
    listening_start(&(coney_listener){.on_message = leave, .concurrency = 8, .prefetch = 10});
    test_wait_until(listening_statistics().acknowledged == FORGED + HONEST);
    assert_int_equal(listening_calls_of("honest"), HONEST);
    test_wait_for_depth(inbox, HONEST);
    listening_expect_nothing_left();
}

static coney_outcome answer_questions(coney_delivery *delivery, void *user)
{
    char text[64];
    bool is_question = strcmp(listening_text(delivery, text), "question") == 0;
    return is_question ? answer(delivery, user) : listening_obey(delivery, user);
}

/* Each such request cost the transacted consumer its channel before. All that was prefetched came again, so a quorum
 * queue's delivery limit ended messages of others that no handler had seen. */
static void test_full_reply_queue_costs_a_transacted_listener_no_messages_of_others(void **state)
{
    (void)state;
    enum { LIMIT = 2, REQUESTS = 6, OTHERS = 20 };
    const char *full = make_full_queue();
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .delivery_limit = LIMIT});
    for (int i = 0; i < REQUESTS; i++)
        listening_send_with("question", &(coney_properties){.reply_to = full});
    for (int i = 0; i < OTHERS; i++)
        listening_send("ack");
    listening_start(&(coney_listener){.on_message = answer_questions, .transacted = true});
    test_wait_until(listening_calls_of("ack") == OTHERS);
    listening_expect_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_request_with_an_exchange_that_does_not_exist_is_acknowledged),
        listening_test(test_log_tells_whose_reply_reaches_nobody),
        listening_test(test_request_whose_reply_is_left_to_the_container_is_acknowledged),
        listening_test(test_ladder_is_not_disturbed),
        listening_test(test_request_whose_reply_queue_is_full_is_handled_once),
        listening_test(test_others_do_not_pay_for_replies_to_an_exchange_that_does_not_exist),
        listening_test(test_full_reply_queue_costs_a_transacted_listener_no_messages_of_others),
    };
    return test_run_with_workers("replies to nowhere", tests, test_client_setup, test_client_teardown);
}
