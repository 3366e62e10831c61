/* SPDX-License-Identifier: MIT */
/* Several threads, one template with resend_unconfirmed, and a broker that fails again and again in one
 * way after the other: every send completes once and well, and nothing overtakes anything. */
#include "support/fault_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SENDERS = 3, MESSAGES = 150, LOSSES = 12, LONG_MS = 10000 };

/* Confirms some, then goes, some time in the middle of what it could have confirmed. */
static void fail_in_turn(cny_peer *peer, void *user)
{
    (void)user;
    int number = cny_peer_number(peer);
    if (number >= LOSSES)
        return;
    const int total = 7 + number * 3;
    amqp_channel_t channel = 0;
    for (int i = 0; i < total; i++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        channel = publish->channel;
        if (number < 2 && i % 5 == 4) /* later they may come one by one */
            cny_peer_ack(peer, channel, publish->number - 2, true);
        else if (number >= 2 && i + 1 < total)
            cny_peer_ack(peer, channel, publish->number, false);
    }
    if (number % 3 == 0)
        cny_peer_hang_up(peer);
    else if (number % 3 == 1)
        cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down");
    else
        cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - no reason");
    if (number % 3 == 2) { /* while they come one by one */
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
    }
}

typedef struct sender {
    pthread_t thread;
    int number;
    coney_status status;
} sender;

static atomic_int completions[SENDERS][MESSAGES];
static atomic_int failures;

static void note(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    atomic_fetch_add((atomic_int *)user, 1);
    if (error && error->status != CONEY_E_PRECONDITION_FAILED) /* the only one at the time is to blame */
        atomic_fetch_add(&failures, 1);
}

static void *send_all(void *arg)
{
    sender *self = arg;
    for (int i = 1; i <= MESSAGES && self->status == CONEY_OK; i++) {
        char text[32];
        coney_message *message;
        int size = snprintf(text, sizeof text, "%d:%d", self->number, i);
        self->status = coney_message_new(&message, text, (size_t)size, NULL);
        if (self->status != CONEY_OK)
            break;
        self->status =
            coney_template_send_async(fault.sender, "key", message, NULL, note, &completions[self->number][i - 1]);
        coney_message_unref(message);
    }
    return NULL;
}

/* Each sender's messages are first heard in its order, and on each channel they come in it. */
static void expect_order(void)
{
    static cny_heard all[CNY_MAX_HEARD];
    int newest[SENDERS] = {0}, on_channel[SENDERS], count = cny_broker_heard(fault.broker, all);
    assert_true(count < CNY_MAX_HEARD);
    for (int i = 0; i < count; i++) {
        int number, message;
        if (all[i].id == AMQP_CHANNEL_OPEN_METHOD)
            memset(on_channel, 0, sizeof on_channel);
        if (all[i].id != AMQP_BASIC_PUBLISH_METHOD || sscanf(all[i].what, "%d:%d", &number, &message) != 2)
            continue;
        if (message > newest[number] + 1)
            fail_msg("message %s came, %d:%d had not been heard yet", all[i].what, number, newest[number] + 1);
        if (message <= on_channel[number])
            fail_msg("message %s came behind %d:%d", all[i].what, number, on_channel[number]);
        on_channel[number] = message;
        newest[number] = message > newest[number] ? message : newest[number];
    }
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(newest[i], MESSAGES);
}

static void test_every_send_completes_once_and_in_order_through_many_losses(void **state)
{
    (void)state;
    static sender senders[SENDERS];
    const coney_recovery_options quick = {.first_delay_ms = 2, .max_delay_ms = 5};
    fault_start(fail_in_turn, &(coney_connection_factory_options){.recovery = quick});
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true, .max_unconfirmed = 40});
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (sender){.number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    fault_wait_for_confirms();
    for (int i = 0; i < SENDERS; i++) {
        assert_int_equal(senders[i].status, CONEY_OK);
        for (int j = 0; j < MESSAGES; j++)
            assert_int_equal(atomic_load(&completions[i][j]), 1);
    }
    assert_int_equal(atomic_load(&failures), 0);
    expect_order();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_every_send_completes_once_and_in_order_through_many_losses),
    };
    return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
