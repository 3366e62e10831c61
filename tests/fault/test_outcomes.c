/* SPDX-License-Identifier: MIT */
/* A hundred threads, one template, and a broker that acks, nacks, returns, says nothing and goes away: every
 * message has one outcome, which is told once, and the counts agree with what was told. */
#include "support/fault_fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SENDERS = 100, MESSAGES = 1000 }; /* each */
enum { UNTIL_HANG_UP = 3000, WINDOW = 1000, TIMEOUT_MS = 500, LONG_MS = 30000, BATCH = 50 };
enum { STATUSES = CONEY_E_REMOTE_ERROR + 1 };

/* Of sixteen: one is nacked, two are returned, one is never spoken about. Those to be forgotten have no mandatory. */
static void treat(cny_peer *peer, const cny_peer_method *publish)
{
    amqp_channel_t channel = publish->channel;
    uint64_t number = publish->number;
    if (!((amqp_basic_publish_t *)publish->args)->mandatory || number % 16 == 3)
        return;
    if (number % 16 == 7) {
        cny_peer_nack(peer, channel, number, false);
        return;
    }
    if (number % 8 == 2)
        cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_ack(peer, channel, number, false);
}

static void treat_some_and_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < UNTIL_HANG_UP; i++)
        treat(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_hang_up(peer);
}

typedef struct sender {
    pthread_t thread;
    int number;
    coney_status status; /* of accepting, always CONEY_OK */
    atomic_int told[MESSAGES];
} sender;

static sender senders[SENDERS];
static atomic_int outcomes[STATUSES];
static atomic_int forgotten;

static void note(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    atomic_fetch_add((atomic_int *)user, 1);
    atomic_fetch_add(&outcomes[error ? error->status : CONEY_OK], 1);
}

static void note_batch(sender *self, coney_confirmation *confirmations[], int count, int first)
{
    (void)coney_confirmation_wait_all(confirmations, (size_t)count, LONG_MS);
    for (int i = 0; i < count; i++) {
        if (coney_confirmation_is_done(confirmations[i]))
            note(NULL, coney_confirmation_error(confirmations[i]), &self->told[first + i]);
        coney_confirmation_free(confirmations[i]);
    }
}

static coney_status send_one(sender *self, int index, coney_message *message, coney_confirmation **confirmation)
{
    static const coney_send_options patient = {.timeout_ms = LONG_MS};
    if (confirmation)
        return coney_template_begin_send(fault.sender, confirmation, "key", message, &patient);
    if (index % 20 == 19) {
        atomic_fetch_add(&self->told[index], 1);
        atomic_fetch_add(&forgotten, 1);
        return coney_template_send_and_forget(fault.sender, "key", message, &patient);
    }
    return coney_template_send_async(fault.sender, "key", message, &patient, note, &self->told[index]);
}

/* Every fourth thread waits for its messages in batches, the others have callbacks. */
static void *send_all(void *arg)
{
    sender *self = arg;
    bool batches = self->number % 4 == 0;
    coney_confirmation *confirmations[BATCH];
    for (int i = 0; i < MESSAGES && self->status == CONEY_OK; i++) {
        char text[32];
        coney_message *message;
        int size = snprintf(text, sizeof text, "%d:%d", self->number, i);
        self->status = coney_message_new(&message, text, (size_t)size, NULL);
        if (self->status != CONEY_OK)
            break;
        self->status = send_one(self, i, message, batches ? &confirmations[i % BATCH] : NULL);
        coney_message_unref(message);
        if (self->status == CONEY_OK && batches && (i + 1) % BATCH == 0)
            note_batch(self, confirmations, BATCH, i + 1 - BATCH);
    }
    return NULL;
}

static void expect_counted(coney_status status, uint64_t counted)
{
    if ((uint64_t)atomic_load(&outcomes[status]) != counted)
        fail_msg("%d outcomes %s were told, %llu are counted", atomic_load(&outcomes[status]),
                 coney_status_name(status), (unsigned long long)counted);
}

static void expect_counts_to_agree(void)
{
    coney_send_statistics now;
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &now));
    assert_int_equal(now.sent + now.forgotten, SENDERS * MESSAGES);
    assert_int_equal(now.forgotten, atomic_load(&forgotten));
    assert_int_equal(now.unconfirmed, 0);
    expect_counted(CONEY_OK, now.confirmed);
    expect_counted(CONEY_E_NACKED, now.nacked);
    expect_counted(CONEY_E_RETURNED, now.returned);
    expect_counted(CONEY_E_LOST, now.lost);
    expect_counted(CONEY_E_TIMEOUT, now.timed_out);
    assert_true(now.confirmed > 0 && now.nacked > 0 && now.returned > 0 && now.lost > 0 && now.timed_out > 0);
}

static void test_every_message_has_one_outcome_which_is_told_once(void **state)
{
    (void)state;
    const coney_recovery_options quick = {.first_delay_ms = 2, .max_delay_ms = 5};
    fault_start(treat_some_and_hang_up, &(coney_connection_factory_options){.recovery = quick});
    fault_use_template(
        &(coney_template_options){.confirm_timeout_ms = TIMEOUT_MS, .max_unconfirmed = WINDOW, .timeout_ms = LONG_MS});
    for (int i = 0; i < SENDERS; i++) {
        senders[i].number = i;
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i].thread, NULL);
    fault_wait_for_confirms();
    for (int i = 0; i < SENDERS; i++) {
        fault_expect_status(CONEY_OK, senders[i].status);
        for (int j = 0; j < MESSAGES; j++)
            assert_int_equal(atomic_load(&senders[i].told[j]), 1);
    }
    expect_counts_to_agree();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_every_message_has_one_outcome_which_is_told_once),
    };
    return cmocka_run_group_tests_name("outcomes", tests, NULL, NULL);
}
