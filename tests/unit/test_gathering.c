/* SPDX-License-Identifier: MIT */
/* The batch that a batching template gathers. */
#include "rabbit/template/batch.h"
#include "support/test_support.h"

static coney_status last_status;
static const char *last_body;

static void count(coney_message *message, const coney_error *error, void *user)
{
    (*(int *)user)++;
    last_status = error ? error->status : CONEY_OK;
    last_body = coney_message_body(message);
}

static cny_addition addition(coney_message *message, int *user)
{
    return (cny_addition){.exchange = "x",
                          .routing_key = "key",
                          .mandatory = true,
                          .delay_ms = 5,
                          .message = message,
                          .callback = user ? count : NULL,
                          .user = user};
}

static void test_batch_takes_messages_of_its_own_address_only(void **state)
{
    (void)state;
    coney_message *message = test_text("body");
    const cny_addition same = addition(message, NULL);
    cny_addition others[] = {same, same, same, same};
    others[0].exchange = "y";
    others[1].routing_key = "other";
    others[2].mandatory = false;
    others[3].delay_ms = 6;
    cny_batch *batch = cny_batch_new(&same);
    assert_true(cny_batch_has_address(batch, &same));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(cny_batch_has_address(batch, &others[i]));
    cny_batch_free(batch);
    coney_message_unref(message);
}

static void test_bytes_are_the_bodies_and_their_lengths(void **state)
{
    (void)state;
    coney_message *message = test_text("body");
    const cny_addition one = addition(message, NULL);
    assert_int_equal(cny_batch_bytes_with(NULL, &one), 8);
    cny_batch *batch = cny_batch_new(&one);
    assert_int_equal(batch->bytes, 8);
    assert_int_equal(cny_batch_bytes_with(batch, &one), 16);
    assert_true(cny_batch_add(batch, &one));
    assert_int_equal(batch->bytes, 16);
    assert_int_equal(cny_batch_count(batch), 2);
    cny_batch_remove_last(batch);
    assert_int_equal(batch->bytes, 8);
    assert_int_equal(cny_batch_count(batch), 1);
    cny_batch_free(batch);
    coney_message_unref(message);
}

static void test_each_message_is_told_the_outcome_of_the_batch(void **state)
{
    (void)state;
    int first_calls = 0, second_calls = 0;
    coney_message *first = test_text("first"), *second = test_text("second");
    const cny_addition additions[] = {addition(first, &first_calls), addition(second, &second_calls)};
    cny_batch *batch = cny_batch_new(&additions[0]);
    assert_true(cny_batch_add(batch, &additions[1]));
    cny_batch_tell(batch, NULL);
    assert_int_equal(first_calls, 1);
    assert_int_equal(second_calls, 1);
    assert_int_equal(last_status, CONEY_OK);
    assert_memory_equal(last_body, "second", 6);
    cny_batch_remove_last(batch); /* the second is not told any more */
    cny_error *error = cny_error_new(CONEY_E_LOST, 0, "lost");
    cny_batch_tell(batch, cny_error_view(error));
    assert_int_equal(first_calls, 2);
    assert_int_equal(second_calls, 1);
    assert_int_equal(last_status, CONEY_E_LOST);
    cny_error_unref(error);
    cny_batch_free(batch);
    coney_message_unref(first);
    coney_message_unref(second);
}

static void test_without_memory_there_is_no_batch(void **state)
{
    (void)state;
    coney_message *message = test_text("body");
    const cny_addition one = addition(message, NULL);
    int successes = 0;
    cny_batch *batch = NULL;
    for (; !batch; successes++) {
        cny_alloc_fail_after(successes);
        batch = cny_batch_new(&one);
        cny_alloc_fail_after(-1);
    }
    assert_true(successes > 1);
    assert_int_equal(cny_batch_count(batch), 1);
    cny_batch_free(batch);
    cny_batch_free(NULL);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_takes_messages_of_its_own_address_only),
        cmocka_unit_test(test_bytes_are_the_bodies_and_their_lengths),
        cmocka_unit_test(test_each_message_is_told_the_outcome_of_the_batch),
        cmocka_unit_test(test_without_memory_there_is_no_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
