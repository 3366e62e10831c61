/* SPDX-License-Identifier: MIT */
/* The states of a stored message: stored, sent or ended, told, finished. */
#include "rabbit/template/store.h"
#include "support/test_support.h"

#include <string.h>

static coney_store_options limits;
static cny_store store;

static int begin(void **state)
{
    (void)state;
    limits = (coney_store_options){.max_messages = 3, .max_bytes = 1000000};
    store = (cny_store){.limits = &limits};
    return 0;
}

static int end(void **state)
{
    (void)state;
    cny_store_close(&store, "a test ended");
    cny_stored *one = cny_store_take_ended(&store);
    while (one) {
        cny_stored *next = one->next;
        cny_stored_free(one);
        one = next;
    }
    return 0;
}

static cny_stored *put(const char *routing_key)
{
    coney_message *message = test_text("body");
    const cny_publish publish = {.exchange = "x", .routing_key = routing_key, .message = message, .mandatory = true};
    cny_stored *one = cny_stored_new(NULL, &publish, 100);
    coney_message_unref(message);
    assert_non_null(one);
    cny_store_put(&store, one);
    return one;
}

static const char *first_key(void)
{
    return store.first ? store.first->routing_key : NULL;
}

static void end_first_for(coney_status status)
{
    cny_error *reason = cny_error_new(status, 0, "a reason");
    cny_store_end_first(&store, reason);
    cny_error_unref(reason);
}

static void test_messages_leave_in_the_order_in_which_they_came(void **state)
{
    (void)state;
    const uint64_t before = store.next;
    put("a");
    put("b");
    assert_false(cny_store_has_before(&store, before));
    assert_true(cny_store_has_before(&store, before + 1));
    assert_string_equal(first_key(), "a");
    cny_store_sent_first(&store);
    assert_false(cny_store_has_before(&store, before + 1));
    assert_true(cny_store_has_before(&store, before + 2));
    assert_string_equal(first_key(), "b");
    cny_store_sent_first(&store);
    assert_true(cny_store_is_finished(&store));
    assert_int_equal(store.messages, 0);
    assert_int_equal(store.bytes, 0);
}

static void test_message_put_after_the_store_was_empty_is_the_first(void **state)
{
    (void)state;
    put("a");
    cny_store_sent_first(&store);
    put("b");
    put("c");
    assert_string_equal(first_key(), "b");
    cny_store_sent_first(&store);
    assert_string_equal(first_key(), "c");
}

static void test_copy_outlives_the_sender_s_names(void **state)
{
    (void)state;
    char key[] = "key";
    const cny_stored *one = put(key);
    key[0] = 'X';
    assert_string_equal(one->exchange, "x");
    assert_string_equal(one->routing_key, "key");
    assert_true(one->mandatory);
}

static void test_full_store_drops_the_oldest_and_counts_it(void **state)
{
    (void)state;
    const size_t bytes = put("a")->bytes;
    put("b");
    assert_true(cny_store_fits(&store, bytes));
    put("c");
    assert_false(cny_store_fits(&store, bytes));
    cny_store_drop_for(&store, bytes);
    assert_string_equal(first_key(), "b");
    assert_true(cny_store_fits(&store, bytes));
    assert_int_equal(store.dropped, 1);
    const cny_stored *dropped = store.ended;
    assert_string_equal(dropped->routing_key, "a");
    assert_int_equal(cny_error_view(dropped->error)->status, CONEY_E_LIMIT);
    assert_non_null(strstr(cny_error_view(dropped->error)->text, "dropped from the full store"));
}

static void test_bytes_are_a_limit_too(void **state)
{
    (void)state;
    const size_t bytes = put("a")->bytes;
    limits.max_bytes = 2 * bytes;
    assert_true(cny_store_fits(&store, bytes));
    assert_false(cny_store_fits(&store, bytes + 1));
    assert_ok(cny_store_check(&store, 2 * bytes));
    assert_int_equal(cny_store_check(&store, 2 * bytes + 1), CONEY_E_LIMIT);
    assert_non_null(strstr(coney_last_error(), "never fits the store"));
}

static void test_message_expires_at_its_age_and_later_ones_stay(void **state)
{
    (void)state;
    cny_error *reason = cny_error_new(CONEY_E_TIMEOUT, 0, "too old");
    put("a")->stored_at = 1000;
    put("b")->stored_at = 1500;
    assert_int_equal(cny_store_next_expiry(&store), INT64_MAX); /* without max_age_ms */
    limits.max_age_ms = 400;
    assert_int_equal(cny_store_next_expiry(&store), 1400);
    cny_store_expire(&store, 1399, reason);
    assert_string_equal(first_key(), "a");
    cny_store_expire(&store, 1400, reason);
    assert_string_equal(first_key(), "b");
    assert_int_equal(store.expired, 1);
    assert_int_equal(cny_store_next_expiry(&store), 1900);
    cny_error_unref(reason);
}

static void test_ended_message_counts_until_its_callback_begins_and_is_finished_when_it_returns(void **state)
{
    (void)state;
    limits.max_messages = 1;
    put("a");
    end_first_for(CONEY_E_LIMIT);
    put("b");
    end_first_for(CONEY_E_LIMIT);
    assert_int_equal(store.messages, 0);
    assert_int_equal(cny_store_check(&store, 1), CONEY_E_LIMIT); /* two are untold, and one is the limit */
    assert_non_null(strstr(coney_last_error(), "the callbacks of 2 messages"));
    cny_stored *one = cny_store_take_ended(&store), *other = one->next;
    assert_null(cny_store_take_ended(&store));
    assert_string_equal(one->routing_key, "a");
    assert_false(cny_store_begin_telling(&store, one, true));
    assert_ok(cny_store_check(&store, 1));
    assert_false(cny_store_begin_telling(&store, other, true));
    assert_int_equal(store.untold_bytes, 0);
    cny_store_end_telling(&store);
    assert_false(cny_store_is_finished(&store));
    cny_store_end_telling(&store);
    assert_true(cny_store_is_finished(&store));
    cny_stored_free(one);
    cny_stored_free(other);
}

/* Whether the log must say it, when the next message ends and nobody hears of that. */
static bool tell_nobody(void)
{
    put("a");
    end_first_for(CONEY_E_LIMIT);
    cny_stored *one = cny_store_take_ended(&store);
    bool must_log = cny_store_begin_telling(&store, one, false);
    cny_store_end_telling(&store);
    cny_stored_free(one);
    return must_log;
}

static void test_unheard_end_is_logged_once_until_a_round_of_sending_empties_the_store(void **state)
{
    (void)state;
    assert_true(tell_nobody());
    assert_false(tell_nobody());
    put("b");
    cny_store_end_round(&store); /* "b" is still stored */
    cny_store_sent_first(&store);
    assert_false(tell_nobody());
    cny_store_end_round(&store);
    assert_true(tell_nobody());
}

static void test_closed_store_ends_everything_and_takes_nothing(void **state)
{
    (void)state;
    put("a");
    put("b");
    assert_ok(cny_store_check(&store, 1));
    cny_store_close(&store, "the template was freed");
    assert_null(store.first);
    for (const cny_stored *one = store.ended; one; one = one->next) {
        assert_int_equal(cny_error_view(one->error)->status, CONEY_E_CLOSED);
        assert_string_equal(cny_error_view(one->error)->text, "never sent: the template was freed while it was stored");
    }
    assert_int_equal(store.untold, 2);
    assert_int_equal(cny_store_check(&store, 1), CONEY_E_CLOSED);
}

#define store_test(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_messages_leave_in_the_order_in_which_they_came),
        store_test(test_message_put_after_the_store_was_empty_is_the_first),
        store_test(test_copy_outlives_the_sender_s_names),
        store_test(test_full_store_drops_the_oldest_and_counts_it),
        store_test(test_bytes_are_a_limit_too),
        store_test(test_message_expires_at_its_age_and_later_ones_stay),
        store_test(test_ended_message_counts_until_its_callback_begins_and_is_finished_when_it_returns),
        store_test(test_unheard_end_is_logged_once_until_a_round_of_sending_empties_the_store),
        store_test(test_closed_store_ends_everything_and_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
