/* SPDX-License-Identifier: MIT */
/* What the broker refuses by closing the connection. Everything else in the factory is interrupted twice at most; the
 * one that is refused fails with the broker's sentence, while it is tried again and again. */
#include "support/elapsed.h"
#include "support/plain_client.h"
#include "support/test_support.h"

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

static struct {
    coney_connection_factory *factory;
    coney_container *container;
    coney_template *sender;
    char queue[256], stream[256], innocent[256];
    atomic_int refusals;          /* channels that ended so, */
    atomic_int refused_with;      /* with this code */
    atomic_int handled, answered; /* by the innocent, and by the one whose replies are refused */
    atomic_int failures;          /* told by events */
    char failure[512];            /* the last one */
    atomic_int confirmed, unconfirmed;
} here;

/* ---- what is told ---- */

static void on_channel(const coney_channel_info *info, void *user)
{
    (void)user;
    if (!info->open && info->broker_code == atomic_load(&here.refused_with))
        atomic_fetch_add(&here.refusals, 1);
}

static void on_event(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind != CONEY_CONSUMER_FAILED || event->status == CONEY_E_LOST)
        return;
    snprintf(here.failure, sizeof here.failure, "%s: %s", event->queue, event->text);
    atomic_fetch_add(&here.failures, 1);
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery;
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

/* ---- the stage ---- */

static void make_queue(char name[256], const char *what, coney_queue_kind kind)
{
    snprintf(name, 256, "%s", test_name(what));
    const coney_queue queue = {.name = name, .kind = kind};
    assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
}

static int setup(void **state)
{
    (void)state;
    memset(&here, 0, sizeof here);
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF); /* NOLINT(concurrency-mt-unsafe) */
    make_queue(here.queue, "queue", CONEY_CLASSIC);
    make_queue(here.stream, "stream", CONEY_STREAM);
    make_queue(here.innocent, "innocent", CONEY_CLASSIC);
    const coney_connection_factory_options options = {.on_channel = on_channel};
    assert_ok(coney_connection_factory_new(&here.factory, test_uri(), &options));
    const coney_template_options sending = {.resend_unconfirmed = true, .timeout_ms = TEST_PATIENCE_MS};
    assert_ok(coney_template_new(&here.sender, here.factory, &sending));
    const coney_container_options listening = {.on_event = on_event};
    assert_ok(coney_container_new(&here.container, here.factory, &listening));
    return 0;
}

static int teardown(void **state)
{
    coney_container_free(here.container);
    coney_template_free(here.sender);
    coney_connection_factory_free(here.factory);
    test_delete_queue(here.queue);
    test_delete_queue(here.stream);
    test_delete_queue(here.innocent);
    coney_log_set_level(CONEY_LOG_WARN);
    return test_no_failed_checks(state);
}

static void listen_to(const char *queue, coney_listener listener)
{
    listener.queue = queue;
    if (!listener.on_message) {
        listener.on_message = handle;
        listener.user = &here.handled;
    }
    assert_ok(coney_container_listen(here.container, &listener));
}

static uint64_t openings(coney_connection_role role)
{
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(here.factory, role, &info));
    return info.times_opened;
}

static void on_sent(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)user;
    atomic_fetch_add(error ? &here.unconfirmed : &here.confirmed, 1);
}

static void send_to_innocent(int count)
{
    for (int i = 0; i < count; i++) {
        coney_message *message = test_text("work");
        assert_ok(coney_template_send_async(here.sender, here.innocent, message, NULL, on_sent, NULL));
        coney_message_unref(message);
    }
}

/* While the refused one is tried again so often, the innocent one and the template work, and no connection is lost. */
static void expect_the_rest_to_go_on(int refusals_more)
{
    uint64_t consuming = openings(CONEY_CONSUMING), publishing = openings(CONEY_PUBLISHING);
    int refusals = here.refusals;
    test_wait_until(here.refusals >= refusals + refusals_more);
    int handled = here.handled, confirmed = here.confirmed;
    send_to_innocent(10);
    test_wait_until(here.handled >= handled + 10);
    test_wait_until(here.confirmed >= confirmed + 10);
    assert_int_equal(here.unconfirmed, 0);
    assert_int_equal(openings(CONEY_CONSUMING), consuming);
    if (publishing > 0)
        assert_int_equal(openings(CONEY_PUBLISHING), publishing);
}

/* ---- consumers ---- */

static void test_stream_without_acknowledgements_is_refused_alone(void **state)
{
    (void)state;
    atomic_store(&here.refused_with, 540);
    listen_to(here.stream, (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    listen_to(here.innocent, (coney_listener){0});
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(here.container));
    test_expect_elapsed(began, 0, 8000);
    assert_true(openings(CONEY_CONSUMING) <= 3);
    expect_the_rest_to_go_on(2);
    coney_health health;
    assert_ok(coney_container_health(here.container, &health));
    assert_int_equal(health.consumers, 1);
    assert_int_equal(health.status, CONEY_E_BROKER);
    assert_non_null(strstr(health.reason, "540 NOT_IMPLEMENTED"));
    assert_non_null(strstr(health.reason, here.stream));
    assert_int_equal(here.failures, 1);
    assert_non_null(strstr(here.failure, "540 NOT_IMPLEMENTED"));
    assert_ok(coney_container_stop(here.container));
}

/* ---- replies ---- */

/* What follows the point is no process that the broker could send to, so its channel crashes. */
#define FORGED "amq.rabbitmq.reply-to.FORGED.key"

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *reply = test_text("answer");
    coney_status status = coney_delivery_reply(delivery, reply);
    coney_message_unref(reply);
    if (status != CONEY_OK)
        return CONEY_REQUEUE;
    atomic_fetch_add(&here.answered, 1);
    return CONEY_ACK;
}

static void ask(const char *reply_to)
{
    coney_message *question;
    assert_ok(coney_message_new(&question, "question", 8, &(coney_properties){.reply_to = reply_to}));
    assert_ok(coney_template_send(client.sender, here.queue, question, NULL));
    coney_message_unref(question);
}

/* The publishing connection is there before the first reply, and sends asynchronously all the time. */
static void start_answering(coney_listener listener)
{
    listener.on_message = answer;
    listen_to(here.queue, listener);
    listen_to(here.innocent, (coney_listener){0});
    assert_ok(coney_container_start(here.container));
    send_to_innocent(10);
    test_wait_until(here.confirmed == 10);
}

static void expect_requests_are_handled(int count, uint64_t most_openings)
{
    for (int waited_ms = 0; here.answered < count;) {
        send_to_innocent(1);
        test_wait_a_little(&waited_ms, "a request is handled", __FILE__, __LINE__);
    }
    assert_true(openings(CONEY_PUBLISHING) <= most_openings);
    test_wait_for_depth(here.queue, 0);
    int handled = here.handled, confirmed = here.confirmed;
    send_to_innocent(10);
    test_wait_until(here.handled >= handled + 10);
    test_wait_until(here.confirmed >= confirmed + 10);
    assert_int_equal(here.unconfirmed, 0);
}

static void test_reply_to_a_forged_address_interrupts_publishers_twice_at_most(void **state)
{
    (void)state;
    start_answering((coney_listener){0});
    ask(FORGED);
    expect_requests_are_handled(1, 3);
    uint64_t before = openings(CONEY_PUBLISHING);
    ask(FORGED);
    ask(here.innocent);
    ask(FORGED);
    expect_requests_are_handled(4, before);
    assert_int_equal(openings(CONEY_CONSUMING), 1);
}

static void test_many_forged_addresses_interrupt_no_more_than_one(void **state)
{
    (void)state;
    enum { ADDRESSES = 5 };
    start_answering((coney_listener){0});
    for (int i = 0; i < ADDRESSES; i++) {
        char address[64];
        snprintf(address, sizeof address, FORGED "%d", i);
        ask(address);
    }
    expect_requests_are_handled(ADDRESSES, 3);
}

static void test_forged_address_in_a_transaction_costs_it_once(void **state)
{
    (void)state;
    /* The first answer is lost with its transaction, but RabbitMQ 4.3 drops it and goes on. */
    int answers = plain_broker_is_from(4, 3) ? 1 : 2;
    start_answering((coney_listener){.transacted = true});
    ask(FORGED);
    expect_requests_are_handled(answers, 3);
    assert_true(openings(CONEY_CONSUMING) <= 2);
}

static coney_status make_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)user;
    *reply = test_text("answer");
    return CONEY_OK;
}

static void test_template_that_replies_to_a_forged_address_is_refused_alone(void **state)
{
    (void)state;
    ask(FORGED);
    coney_status status;
    int tries = 0;
    do {
        status = coney_template_receive_and_reply(here.sender, here.queue, NULL, NULL, make_reply, NULL);
    } while (status != CONEY_OK && ++tries < 10);
    assert_int_equal(status, CONEY_OK);
    assert_true(tries <= 3);
    assert_true(openings(CONEY_PUBLISHING) <= 4);
    test_wait_for_depth(here.queue, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stream_without_acknowledgements_is_refused_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reply_to_a_forged_address_interrupts_publishers_twice_at_most, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_many_forged_addresses_interrupt_no_more_than_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forged_address_in_a_transaction_costs_it_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_template_that_replies_to_a_forged_address_is_refused_alone, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
