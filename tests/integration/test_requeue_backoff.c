/* SPDX-License-Identifier: MIT */
/* Messages that wait before they go back to the queue, on a real broker: each waits for its own back-off only, and
 * what came after it is handled at once. */
#include "support/elapsed.h"
#include "support/listening.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 20, SOON_MS = 5000, NEVER_MS = 600000 };

static void send_many(const char *text, int count, bool with_ids)
{
    for (int i = 0; i < count; i++) {
        char lettered[64], id[64];
        snprintf(lettered, sizeof lettered, "%s:%c", text, (char)('a' + i)); /* none begins as another does */
        snprintf(id, sizeof id, "m-%s-%d", text, i);
        listening_send_with(lettered, &(coney_properties){.message_id = with_ids ? id : NULL});
    }
}

static int64_t time_of_call(const char *text, int number)
{
    for (int i = 0; i < listening.count; i++) {
        if (strcmp(listening.calls[i].text, text) == 0 && number-- == 0)
            return listening.calls[i].at_ms;
    }
    fail_msg("no such call of '%s'", text);
    return 0;
}

static void expect_quick(int64_t began, const char *what)
{
    print_message("%s: %d ms\n", what, (int)(cny_now_ms() - began));
    test_expect_elapsed(began, 0, SOON_MS);
}

/* ---- side by side ---- */

static void expect_sixty_calls(const coney_listener *listener, bool with_ids)
{
    listening_start(listener);
    int64_t began = cny_now_ms();
    send_many("fail 2", MANY, with_ids);
    listening_wait_for_calls(3 * MANY);
    expect_quick(began, "20 messages that fail twice");
}

static void test_messages_without_id_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){0}, false);
}

static void test_messages_with_id_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){0}, true);
}

static void test_messages_of_several_lanes_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){.lanes = 4}, false);
}

static void test_messages_of_transactions_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){.transacted = true}, false);
}

static void test_messages_acknowledged_together_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){.ack_every = 10, .ack_after_ms = 100}, false);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_messages_of_a_quorum_queue_wait_side_by_side(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    expect_sixty_calls(&(coney_listener){0}, false);
}

/* Their outcome depends on the call, because they are the same. */
static coney_outcome fail_forty_times(coney_delivery *delivery, void *user)
{
    (void)user;
    return listening_note(delivery) < 2 * MANY ? CONEY_RETRY : CONEY_ACK;
}

static void test_messages_that_are_alike_wait_side_by_side(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = fail_forty_times});
    int64_t began = cny_now_ms();
    for (int i = 0; i < MANY; i++)
        listening_send("alike");
    listening_wait_for_calls(3 * MANY);
    expect_quick(began, "20 messages that are alike");
}

static void handle_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++)
        outcomes[i] = listening_obey(deliveries[i], user);
}

static void test_messages_of_batches_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){.on_batch = handle_batch, .batch_size = 5, .batch_timeout_ms = 50}, false);
}

static void test_messages_that_their_handler_settles_itself_wait_side_by_side(void **state)
{
    (void)state;
    expect_sixty_calls(&(coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_MANUAL}, false);
}

/* ---- what comes after ---- */

static void expect_three_good_ones_soon(const coney_listener *listener, bool with_ids)
{
    listening_start(listener);
    send_many("fail", MANY, with_ids);
    listening_wait_for_calls(2 * MANY);
    int64_t began = cny_now_ms();
    send_many("ack", 3, with_ids);
    test_wait_until(listening_calls_of("ack") == 3);
    expect_quick(began, "three good messages after 20 that always fail");
    listening_stop();
    test_wait_for_depth(listening.queue, MANY);
}

static void test_good_messages_do_not_wait_for_those_that_always_fail(void **state)
{
    (void)state;
    expect_three_good_ones_soon(&(coney_listener){0}, false);
}

static void test_good_messages_with_id_do_not_wait_for_those_that_always_fail(void **state)
{
    (void)state;
    expect_three_good_ones_soon(&(coney_listener){0}, true);
}

static void test_good_messages_acknowledged_together_do_not_wait_for_those_that_always_fail(void **state)
{
    (void)state;
    expect_three_good_ones_soon(&(coney_listener){.ack_every = 50, .ack_after_ms = NEVER_MS}, false);
}

static void test_good_messages_of_transactions_do_not_wait_for_those_that_always_fail(void **state)
{
    (void)state;
    expect_three_good_ones_soon(&(coney_listener){.transacted = true}, true);
}

static void test_message_that_fails_later_begins_with_the_first_delay(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    listening_send("fail:old");
    test_wait_until(listening_calls_of("fail:old") >= 5); /* 100 + 200 + 400 ms */
    listening_send("fail 2:new");
    test_wait_until(listening_calls_of("fail 2:new") == 3);
    int64_t began = time_of_call("fail 2:new", 1);
    assert_int_in_range(time_of_call("fail 2:new", 2) - began, 99, 100 + test_slack_ms(began));
}

static void test_success_ends_the_growth_of_its_message(void **state)
{
    (void)state;
    const coney_properties same = {.message_id = "same"};
    listening_start(&(coney_listener){0});
    listening_send_with("fail 4:first", &same);
    test_wait_until(listening_calls_of("fail 4:first") == 5);
    listening_send_with("fail 2:second", &same);
    test_wait_until(listening_calls_of("fail 2:second") == 3);
    int64_t began = time_of_call("fail 2:second", 1);
    assert_int_in_range(time_of_call("fail 2:second", 2) - began, 99, 100 + test_slack_ms(began));
}

static void test_waiting_message_keeps_its_place_in_the_prefetch(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.prefetch = 1, .retry = {.stateful = true, .first_delay_ms = 600, .max_delay_ms = 600}});
    listening_send_with("fail 1", &(coney_properties){.message_id = "m"});
    listening_send("ack");
    test_wait_until(listening_calls_of("ack") == 1);
    assert_int_in_range(time_of_call("ack", 0) - time_of_call("fail 1", 0), 299, SOON_MS);
}

/* ---- stateful retry ---- */

static void test_stateful_delays_are_those_of_the_options(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10}});
    int64_t began = cny_now_ms();
    send_many("fail", 10, true);
    test_wait_for_depth(listening.dead, 10);
    expect_quick(began, "ten failing messages to the dead-letter queue");
    assert_int_equal(listening.count, 30);
}

static void test_stateful_second_attempt_comes_after_the_first_delay(void **state)
{
    (void)state;
    enum { FIRST_MS = 400, SECOND_MS = 800, CAP_MS = 1000 };
    listening_start(&(coney_listener){
        .retry = {.stateful = true, .max_attempts = 4, .first_delay_ms = FIRST_MS, .max_delay_ms = CAP_MS}});
    listening_send_with("fail", &(coney_properties){.message_id = "m"});
    test_wait_for_depth(listening.dead, 1);
    static const int delays_ms[] = {FIRST_MS, SECOND_MS, CAP_MS};
    for (int i = 0; i < 3; i++) {
        int64_t began = listening.calls[i].at_ms;
        int gap_ms = (int)(listening.calls[i + 1].at_ms - began);
        assert_int_in_range(gap_ms, delays_ms[i] / 2 - 1, delays_ms[i] + test_slack_ms(began));
    }
}

static void test_stateful_delay_of_a_message_without_id_is_the_first_one(void **state)
{
    (void)state;
    enum { FIRST_MS = 400 };
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 5, .first_delay_ms = FIRST_MS}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 2);
    int64_t began = listening.calls[0].at_ms;
    assert_int_in_range(listening.calls[1].at_ms - began, FIRST_MS / 2 - 1, FIRST_MS + test_slack_ms(began));
}

static void test_stateful_delays_of_a_quorum_queue_are_those_of_the_options(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10}});
    int64_t began = cny_now_ms();
    send_many("fail", 10, false);
    test_wait_for_depth(listening.dead, 10);
    expect_quick(began, "ten failing messages of a quorum queue to the dead-letter queue");
}

/* ---- the end ---- */

static void expect_release_by_a_stop(coney_stop_mode mode, const coney_listener *listener)
{
    listening_start(listener);
    send_many("fail", MANY, true);
    listening_wait_for_calls(MANY);
    int64_t began = cny_now_ms();
    assert_ok(coney_container_stop_with(listening.container, mode, 20000));
    expect_quick(began, "stop");
    test_wait_for_depth(listening.queue, MANY);
}

#define LONG_WAIT .retry = {.stateful = true, .first_delay_ms = NEVER_MS, .max_delay_ms = NEVER_MS}

static void test_stop_that_drains_releases_what_waits(void **state)
{
    (void)state;
    expect_release_by_a_stop(CONEY_STOP_DRAIN, &(coney_listener){LONG_WAIT});
}

static void test_stop_that_finishes_releases_what_waits(void **state)
{
    (void)state;
    expect_release_by_a_stop(CONEY_STOP_FINISH, &(coney_listener){LONG_WAIT, .lanes = 3});
}

static void test_stop_now_releases_what_waits(void **state)
{
    (void)state;
    expect_release_by_a_stop(CONEY_STOP_NOW, &(coney_listener){LONG_WAIT});
}

static void test_stop_of_a_transacted_listener_releases_what_waits(void **state)
{
    (void)state;
    expect_release_by_a_stop(CONEY_STOP_DRAIN, &(coney_listener){LONG_WAIT, .transacted = true});
}

static void test_stop_of_a_listener_with_batches_releases_what_waits(void **state)
{
    (void)state;
    expect_release_by_a_stop(CONEY_STOP_DRAIN, &(coney_listener){LONG_WAIT, .on_batch = handle_batch, .batch_size = 5,
                                                                 .batch_timeout_ms = 50});
}

/* ---- what waits takes no more memory than its message ---- */

static atomic_int made, freed;
static coney_delivery *_Atomic kept;

static coney_status make_object(void **object, coney_message *message)
{
    (void)message;
    *object = strdup("large");
    atomic_fetch_add(&made, 1);
    return *object ? CONEY_OK : CONEY_E_NO_MEMORY;
}

static void free_object(void *object)
{
    if (object)
        atomic_fetch_add(&freed, 1);
    free(object);
}

static const coney_converter counting = {.name = "counting", .from_message = make_object, .free_object = free_object};

/* Its message fails; the one whose text says so is kept. */
static coney_outcome fail_and_keep(coney_delivery *delivery, void *user)
{
    char text[64];
    if (strcmp(listening_text(delivery, text), "kept") == 0)
        atomic_store(&kept, coney_delivery_ref(delivery));
    (void)user;
    return CONEY_RETRY;
}

static void test_object_of_a_message_that_waits_is_freed_unless_the_program_keeps_the_delivery(void **state)
{
    (void)state;
    atomic_store(&made, 0);
    atomic_store(&freed, 0);
    listening_start(&(coney_listener){LONG_WAIT, .on_message = fail_and_keep, .converter = &counting});
    listening_send_with("waits", &(coney_properties){.message_id = "m-1"});
    listening_send_with("kept", &(coney_properties){.message_id = "m-2"});
    listening_send_with("waits, too", &(coney_properties){.message_id = "m-3"});
    test_wait_until(atomic_load(&made) == 3 && atomic_load(&freed) == 2);
    assert_string_equal(coney_delivery_payload(atomic_load(&kept)), "large");
    coney_delivery_unref(atomic_load(&kept));
    listening_stop();
    assert_int_equal(freed, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_messages_without_id_wait_side_by_side),
        listening_test(test_messages_with_id_wait_side_by_side),
        listening_test(test_messages_of_several_lanes_wait_side_by_side),
        listening_test(test_messages_of_transactions_wait_side_by_side),
        listening_test(test_messages_acknowledged_together_wait_side_by_side),
        listening_test(test_messages_of_a_quorum_queue_wait_side_by_side),
        listening_test(test_messages_that_are_alike_wait_side_by_side),
        listening_test(test_messages_of_batches_wait_side_by_side),
        listening_test(test_messages_that_their_handler_settles_itself_wait_side_by_side),
        listening_test(test_good_messages_do_not_wait_for_those_that_always_fail),
        listening_test(test_good_messages_with_id_do_not_wait_for_those_that_always_fail),
        listening_test(test_good_messages_acknowledged_together_do_not_wait_for_those_that_always_fail),
        listening_test(test_good_messages_of_transactions_do_not_wait_for_those_that_always_fail),
        listening_test(test_message_that_fails_later_begins_with_the_first_delay),
        listening_test(test_success_ends_the_growth_of_its_message),
        listening_test(test_waiting_message_keeps_its_place_in_the_prefetch),
        listening_test(test_stateful_delays_are_those_of_the_options),
        listening_test(test_stateful_second_attempt_comes_after_the_first_delay),
        listening_test(test_stateful_delay_of_a_message_without_id_is_the_first_one),
        listening_test(test_stateful_delays_of_a_quorum_queue_are_those_of_the_options),
        listening_test(test_object_of_a_message_that_waits_is_freed_unless_the_program_keeps_the_delivery),
        listening_test(test_stop_that_drains_releases_what_waits),
        listening_test(test_stop_that_finishes_releases_what_waits),
        listening_test(test_stop_now_releases_what_waits),
        listening_test(test_stop_of_a_transacted_listener_releases_what_waits),
        listening_test(test_stop_of_a_listener_with_batches_releases_what_waits),
    };
    return test_run_with_workers("requeue back-off", tests, test_client_setup, test_client_teardown);
}
