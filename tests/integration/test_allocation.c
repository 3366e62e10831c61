/* SPDX-License-Identifier: MIT */
/* A sender in full swing asks for no memory: buffers and the ring have grown to what they need. */
#include "support/test_support.h"

#include "base/base.h"

#include <sched.h>

enum { ROUNDS = 40, ROUND = 500, WARM_UP = ROUNDS * ROUND, FEW = 50 };

static const char *queue;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("allocation");
    test_make_queue(queue);
    return 0;
}

static int teardown(void **state)
{
    test_delete_queue(queue);
    return test_client_teardown(state);
}

static void count(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    atomic_fetch_add((atomic_int *)user, error == NULL);
}

static int send_many(coney_message *message, int count_of_messages, atomic_int *confirmed)
{
    int sent = 0;
    while (sent < count_of_messages &&
           coney_template_send_async(client.sender, queue, message, NULL, count, confirmed) == CONEY_OK)
        sent++;
    return sent;
}

/* In small rounds: a buffer that a burst has made larger than a mebibyte is given back when nothing is written for ten
 * seconds, which a broker on a busy machine may take for its confirms. */
static void warm_up(coney_message *message, atomic_int *confirmed)
{
    for (int round = 0; round < ROUNDS; round++) {
        assert_int_equal(send_many(message, ROUND, confirmed), ROUND);
        assert_ok(coney_template_wait_for_confirms(client.sender, TEST_PATIENCE_MS));
    }
}

static void test_steady_asynchronous_sends_allocate_nothing(void **state)
{
    (void)state;
    atomic_int confirmed = 0;
    coney_message *message = test_text("hello");
    warm_up(message, &confirmed);
    cny_alloc_fail_after(0);
    int sent = send_many(message, FEW, &confirmed);
    for (int64_t end = cny_deadline(TEST_PATIENCE_MS); confirmed < WARM_UP + FEW && cny_now_ms() < end;)
        sched_yield();
    cny_alloc_fail_after(-1);
    assert_int_equal(sent, FEW);
    assert_int_equal(confirmed, WARM_UP + FEW);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steady_asynchronous_sends_allocate_nothing)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
