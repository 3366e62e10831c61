/* SPDX-License-Identifier: MIT */
/* Where a text goes wrong as UTF-8, and where a JSON string needs an escape, wherever that is among eight bytes that
 * are looked at together. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* The text behind 0 to 20 characters of ASCII and in front of as many. */
static void assert_wrong_at(const char *text, ptrdiff_t wrong)
{
    for (size_t before = 0; before <= 20; before++) {
        char whole[64];
        memset(whole, 'a', sizeof whole);
        for (size_t i = 0; text[i]; i++)
            whole[before + i] = text[i];
        ptrdiff_t expected = wrong < 0 ? wrong : wrong + (ptrdiff_t)before;
        assert_int_equal(cny_utf8_error(whole, before + strlen(text) + before), expected);
    }
}

static void test_well_formed_text_has_no_error(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "", "a", "\x7f", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\xa5\x95", "\xc3\xa9\xc3\xa9z"};
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        assert_wrong_at(texts[i], -1);
    assert_int_equal(cny_utf8_error("a\0b", 3), -1);
}

static void test_error_is_told_by_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        ptrdiff_t at;
    } wrong[] = {
        {"\x80", 0},             /* nothing begins so */
        {"\xff", 0},             /* never used */
        {"\xc3", 0},             /* cut short, or followed by ASCII */
        {"\xe2\x82", 0},         /* the same */
        {"\xc0\xaf", 0},         /* '/', longer than it must be */
        {"\xed\xa0\x80", 0},     /* half of a surrogate pair */
        {"\xf4\x90\x80\x80", 0}, /* beyond Unicode */
        {"\xc3\xa9\xff", 2},     /* behind a good one */
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_wrong_at(wrong[i].text, wrong[i].at);
}

static bool is_plain(int byte)
{
    return byte >= 0x20 && byte != '"' && byte != '\\';
}

/* Two bytes, because the arithmetic of eight bytes carries from one byte to the next. */
static void assert_plain_up_to(int first, int second)
{
    for (size_t before = 0; before <= 9; before++) {
        char text[20];
        memset(text, 'a', sizeof text);
        text[before] = (char)first;
        text[before + 1] = (char)second;
        size_t expected = !is_plain(first) ? before : !is_plain(second) ? before + 1 : sizeof text;
        assert_int_equal(cny_plain_length(text, sizeof text), expected);
        assert_int_equal(cny_plain_length(text, before + 1), is_plain(first) ? before + 1 : before);
    }
}

static void test_plain_text_ends_before_byte_that_json_escapes(void **state)
{
    (void)state;
    for (int first = 0; first < 256; first++) {
        for (int second = 0; second < 256; second++)
            assert_plain_up_to(first, second);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_well_formed_text_has_no_error),
        cmocka_unit_test(test_error_is_told_by_its_place),
        cmocka_unit_test(test_plain_text_ends_before_byte_that_json_escapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
