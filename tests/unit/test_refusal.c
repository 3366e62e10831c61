/* SPDX-License-Identifier: MIT */
/* Which message is meant by the sentence with which the broker closes a channel. Whoever may send a request chooses the
 * exchange of its reply, and no other reply may pay for what stands in that name. */
#include "rabbit/connection/confirms/confirms.h"
#include "support/test_support.h"

#include <stdio.h>

static bool is_named(const char *text, const char *exchange)
{
    char route[512]; /* exchange, NUL, routing key */
    snprintf(route, sizeof route, "%s%ckey", exchange, '\0');
    coney_message *message = test_text("hello");
    const cny_confirm confirm = {.message = message, .route = route};
    bool named = cny_confirm_is_named(&confirm, text);
    coney_message_unref(message);
    return named;
}

static void test_exchange_is_named_by_all_of_its_name(void **state)
{
    (void)state;
    const char *text = "404 NOT_FOUND - no exchange 'orders' in vhost '/'";
    assert_true(is_named(text, "orders"));
    assert_false(is_named(text, "order"));
    assert_false(is_named(text, "orders'"));
    assert_false(is_named(text, ""));
}

/* As cny_copy_sentence() makes the text. */
static void test_space_stands_for_what_cannot_be_shown(void **state)
{
    (void)state;
    const char *text = "404 NOT_FOUND - no exchange ' a b ' in vhost '/'";
    assert_true(is_named(text, "\xc2\x9b"
                               "a\xe2\x80\xa8\x1b  b\x7f"));
    assert_true(is_named(text, "\xff"
                               "a\xff"
                               "b\xff"));
    assert_true(is_named(text, " a b "));
    assert_false(is_named(text, "a b"));
    assert_false(is_named(text, "\xff"
                                "a\xff"
                                "c\xff"));
    assert_false(is_named(text, "\xff"
                                "a\xff"
                                "b"));
}

static void test_name_that_is_not_utf8_may_stand_there_as_latin1(void **state)
{
    (void)state;
    const char *text = "404 NOT_FOUND - no exchange 'M\xc3\xbcnchen' in vhost '/'";
    assert_true(is_named(text, "M\xfcnchen"));
    assert_true(is_named(text, "M\xc3\xbcnchen"));
    assert_false(is_named(text, "M\xfbnchen"));
}

static void test_name_may_be_cut(void **state)
{
    (void)state;
    const char *text = "404 NOT_FOUND - no exchange 'abc...";
    assert_true(is_named(text, "abcdef"));
    assert_true(is_named(text, "abc..."));
    assert_false(is_named(text, "abd"));
    assert_false(is_named("404 NOT_FOUND - no exchange '...", "abc"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_is_named_by_all_of_its_name),
        cmocka_unit_test(test_space_stands_for_what_cannot_be_shown),
        cmocka_unit_test(test_name_that_is_not_utf8_may_stand_there_as_latin1),
        cmocka_unit_test(test_name_may_be_cut),
    };
    return cmocka_run_group_tests_name("refusal", tests, NULL, NULL);
}
