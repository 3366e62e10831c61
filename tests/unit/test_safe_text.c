/* SPDX-License-Identifier: MIT */
/* Texts of others in log lines and errors: nothing in them ends a line, steers a terminal or turns the reading order
 * around, and what a program writes in its own language stays as it is. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <stdio.h>

typedef struct pair {
    const char *said;
    const char *shown;
} pair;

/* NOLINTBEGIN(misc-misleading-bidirectional): that is what they are here for */
static const pair texts[] = {
    {"a\r\nb\tc", "a??b?c"},
    {"\x1b[31mred\x7f", "?[31mred?"},
    {"a\xc2\x85"
     "b",
     "a?b"}, /* NEL, of C1 */
    {"\xc2\x9b"
     "31mred",
     "?31mred"}, /* the C1 form of ESC [ */
    {"a\xe2\x80\xa8"
     "b\xe2\x80\xa9"
     "c",
     "a?b?c"}, /* line and paragraph separator */
    {"user\xe2\x80\xae"
     "nimda\xe2\x80\xac",
     "user?nimda?"},                                                     /* right-to-left override */
    {"\xe2\x80\xaa\xe2\x80\xab\xe2\x80\xad", "???"},                     /* the other embeddings */
    {"\xe2\x81\xa6\xe2\x81\xa7\xe2\x81\xa8\xe2\x81\xa9", "????"},        /* isolates */
    {"\xd8\x9c\xe2\x80\x8e\xe2\x80\x8f", "???"},                         /* direction marks */
    {"a\xff\xfe", "a??"},                                                /* never UTF-8 */
    {"cut \xe2\x82", "cut ??"},                                          /* in the middle of a character */
    {"\xc0\x8a", "??"},                                                  /* a line end, longer than it must be */
    {"\xed\xa0\x80", "???"},                                             /* half of a surrogate pair */
    {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\xa5\x95", NULL},          /* ordinary text */
    {"\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d \xe6\x97\xa5\xe6\x9c\xac", NULL}, /* Hebrew, Japanese */
    {"\xc2\xa0\xe2\x80\xa7\xe2\x80\xb0\xe2\x81\xa5\xe2\x81\xaa", NULL},  /* neighbours of what is not shown */
    {"", NULL},
};
/* NOLINTEND(misc-misleading-bidirectional) */

static const char *shown(const pair *one)
{
    return one->shown ? one->shown : one->said;
}

static void test_log_lines_are_safe_to_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char line[128];
        snprintf(line, sizeof line, "warn: type '%s'\n", shown(&texts[i]));
        test_log_start(CONEY_LOG_WARN);
        cny_log(CONEY_LOG_WARN, "type '%s'", texts[i].said);
        test_log_stop();
        test_log_expect(line);
    }
}

static void test_last_error_is_safe_to_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char sentence[128];
        cny_fail(CONEY_E_CONVERSION, "content type '%s'", texts[i].said);
        cny_fail_in("message '%s'", texts[i].said);
        snprintf(sentence, sizeof sentence, "message '%s': content type '%s'", shown(&texts[i]), shown(&texts[i]));
        assert_string_equal(coney_last_error(), sentence);
    }
}

static void test_error_of_another_thread_is_safe_to_show(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        cny_error *error = cny_error_new(CONEY_E_HANDLER, 0, "%s", texts[i].said);
        cny_error *suspicion = cny_error_new_suspicion(CONEY_E_LOST, 320, texts[i].said);
        assert_string_equal(cny_error_view(error)->text, shown(&texts[i]));
        assert_string_equal(cny_error_view(suspicion)->text, shown(&texts[i]));
        cny_error_unref(error);
        cny_error_unref(suspicion);
    }
}

static void test_returned_message_keeps_its_routing_key_but_not_in_the_sentence(void **state)
{
    (void)state;
    cny_error *error = cny_error_new_return(312, "NO_ROUTE", "e\n", "k\xe2\x80\xa8");
    assert_non_null(strstr(cny_error_view(error)->text, "exchange 'e?'"));
    assert_non_null(strstr(cny_error_view(error)->text, "routing key 'k?'"));
    assert_string_equal(cny_error_view(error)->exchange, "e\n");
    assert_string_equal(cny_error_view(error)->routing_key, "k\xe2\x80\xa8");
    cny_error_unref(error);
}

/* A line is cut at its limit, wherever that is in a character. */
static void test_character_that_is_cut_is_not_shown(void **state)
{
    (void)state;
    char said[4097] = "";
    for (size_t i = 0; i + 3 < sizeof said; i += 3)
        memcpy(said + i, "\xe2\x82\xac", 4);
    for (int before = 0; before < 3; before++) {
        cny_fail(CONEY_E_HANDLER, "%.*s%s", before, "abc", said);
        assert_true(cny_utf8_error(coney_last_error(), strlen(coney_last_error())) < 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_lines_are_safe_to_show),
        cmocka_unit_test(test_last_error_is_safe_to_show),
        cmocka_unit_test(test_error_of_another_thread_is_safe_to_show),
        cmocka_unit_test(test_returned_message_keeps_its_routing_key_but_not_in_the_sentence),
        cmocka_unit_test(test_character_that_is_cut_is_not_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
