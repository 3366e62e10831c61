/* SPDX-License-Identifier: MIT */
/* Charsets of texts and JSON: which one a message names, reading and writing it, and what is wrong with it. */
#include "base/base.h"
#include "support/test_support.h"

#define WORD_LATIN1 "gr\xfc\xdf"
#define WORD_UTF8 "gr\xc3\xbc\xc3\x9f"

static coney_message *message_of(const void *body, size_t size, const char *content_type, const char *content_encoding)
{
    coney_message *message;
    assert_ok(coney_message_new(
        &message, body, size, &(coney_properties){.content_type = content_type, .content_encoding = content_encoding}));
    return message;
}

static void expect_text_of(const void *body, size_t size, const char *content_type, const char *content_encoding,
                           const char *expected)
{
    coney_message *message = message_of(body, size, content_type, content_encoding);
    void *text;
    assert_ok(coney_text_converter()->from_message(&text, message));
    assert_string_equal(text, expected);
    coney_text_converter()->free_object(text);
    coney_message_unref(message);
}

static void expect_text(const char *body, const char *content_type, const char *content_encoding, const char *expected)
{
    expect_text_of(body, strlen(body), content_type, content_encoding, expected);
}

static void expect_no_text_of(const void *body, size_t size, const char *content_type, const char *content_encoding,
                              const char *words)
{
    coney_message *message = message_of(body, size, content_type, content_encoding);
    void *text;
    assert_fails(coney_text_converter()->from_message(&text, message), CONEY_E_CONVERSION, words);
    coney_message_unref(message);
}

static void expect_no_text(const char *body, const char *content_type, const char *content_encoding, const char *words)
{
    expect_no_text_of(body, strlen(body), content_type, content_encoding, words);
}

/* ---- which charset ---- */

static void test_content_encoding_names_the_charset(void **state)
{
    (void)state;
    expect_text(WORD_LATIN1, "text/plain", "ISO-8859-1", WORD_UTF8);
    expect_text(WORD_LATIN1, "text/plain", "latin1", WORD_UTF8);
    expect_text("\x80", "text/plain", "windows-1252", "\xe2\x82\xac");
}

static void test_parameter_of_the_content_type_names_the_charset_otherwise(void **state)
{
    (void)state;
    static const char *const types[] = {"text/plain;charset=ISO-8859-1",
                                        "text/plain; charset=iso-8859-1",
                                        "text/plain; CHARSET = ISO-8859-1 ",
                                        "text/plain;charset=\"ISO-8859-1\"",
                                        "text/plain;charset=\"ISO-8859\\-1\" ; x=y",
                                        "text/plain;charset=ISO-8859-1; x=y",
                                        "text/plain; x=\"a;charset=UTF-8\"; charset=ISO-8859-1",
                                        "text/plain; charsets=UTF-8; charset=ISO-8859-1",
                                        "text/plain; charset=UTF-8; charset=ISO-8859-1",
                                        "text/plain;;charset;=; charset=ISO-8859-1"};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        expect_text(WORD_LATIN1, types[i], NULL, WORD_UTF8);
    expect_text(WORD_LATIN1, "text/plain;charset=ISO-8859-1", "", WORD_UTF8);
}

static void test_content_encoding_wins_over_the_parameter(void **state)
{
    (void)state;
    expect_text(WORD_UTF8, "text/plain;charset=ISO-8859-1", "UTF-8", WORD_UTF8);
    expect_text(WORD_LATIN1, "text/plain;charset=UTF-8", "ISO-8859-1", WORD_UTF8);
}

static void test_utf8_is_the_charset_if_none_is_named(void **state)
{
    (void)state;
    static const char *const types[] = {NULL,
                                        "text/plain",
                                        "text/plain;",
                                        "text/plain;charset",
                                        "text/plain;charset=",
                                        "text/plain;charset=\"\"",
                                        "text/plain;charset=utf-8; x=y",
                                        "text/plain;x=\"charset=ISO-8859-1",
                                        "text/plain;=\"",
                                        "text/plain;charset=\"utf-8"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        expect_text(WORD_UTF8, types[i], NULL, WORD_UTF8);
        expect_text(WORD_UTF8, types[i], "", WORD_UTF8);
        expect_no_text(WORD_LATIN1, types[i], NULL,
                       "the body is not UTF-8 (at offset 2), and neither content encoding nor content type "
                       "names another charset");
    }
}

static void test_unknown_charset_is_a_conversion_error(void **state)
{
    (void)state;
    expect_no_text("x", "text/plain;charset=no-such-charset", NULL,
                   "charset 'no-such-charset' of content type 'text/plain;charset=no-such-charset' is not understood");
    expect_no_text("x", "text/plain;charset=no-such-charset", NULL,
                   "not understood: iconv of this system knows no such charset (see iconv -l)");
    expect_no_text("x", "text/plain", "no-such-charset",
                   "content encoding 'no-such-charset' is not understood: iconv of this system knows no such charset "
                   "(see iconv -l)");
    expect_no_text("x", "text/plain", "br", "content encoding 'br' is not understood: iconv of this system knows");
    expect_no_text("x", "text/plain;charset=UTF-8", "gzip", "coney_decompress_processor()");
    expect_no_text("x", "text/plain", "zip, UTF-8", "coney_decompress_processor()");
    expect_no_text("x", "text/plain", "gzip:UTF-8", "content encoding 'gzip:UTF-8' is not understood");
    expect_no_text("x", "text/plain", "gzip, UTF-8", "content encoding 'gzip, UTF-8' is not understood");
}

static void test_name_that_is_more_than_a_name_never_reaches_the_system(void **state)
{
    (void)state;
    static const char *const names[] = {"UTF-16//IGNORE",
                                        "UTF-16//TRANSLIT",
                                        "UTF-16,",
                                        "../../lib/x",
                                        "UTF-16 ",
                                        "\xc3\xbc",
                                        "-0000000000000000000000000000000000000000",
                                        "UTF-8\n"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        expect_no_text("x", "text/plain", names[i], "is not understood");
    expect_no_text("x", "text/plain;charset=ASCII//IGNORE", NULL, "charset 'ASCII//IGNORE'");
    expect_no_text("x", "text/plain", names[0], "is not understood: the name holds a '/'");
    expect_no_text("x", "text/plain", names[6], "is not understood: the name is longer than 40 characters");
    expect_no_text("x", "text/plain", names[7], "is not understood: the name holds the byte 0x0a");
}

/* ---- reading ---- */

static void test_text_of_ascii_may_be_utf8(void **state)
{
    (void)state;
    expect_text(WORD_UTF8, "text/plain", "US-ASCII", WORD_UTF8);
}

static void test_order_of_bytes_is_that_of_the_mark_or_else_big_endian(void **state)
{
    (void)state;
    expect_text_of("\0g\0\xfc", 4, "text/plain", "UTF-16", "g\xc3\xbc");
    expect_text_of("\xfe\xff\0g\0\xfc", 6, "text/plain", "utf-16", "g\xc3\xbc");
    expect_text_of("\xff\xfeg\0\xfc\0", 6, "text/plain;charset=UTF-16", NULL, "g\xc3\xbc");
    expect_text_of("g\0\xfc\0", 4, "text/plain", "UTF-16LE", "g\xc3\xbc");
    expect_text_of("\xd8\x3d\xdc\x07", 4, "text/plain", "UTF-16BE", "\xf0\x9f\x90\x87");
    expect_text_of("\0\0\0g", 4, "text/plain", "UTF-32", "g");
    expect_text_of("\xff\xfe\0\0g\0\0\0", 8, "text/plain", "UTF-32", "g");
    expect_text_of("\0\0\xfe\xff\0\0\0g", 8, "text/plain", "UTF-32", "g");
    expect_text_of("", 0, "text/plain", "UTF-16", "");
}

static void test_body_that_is_not_in_its_charset_is_refused_with_the_place(void **state)
{
    (void)state;
    expect_no_text_of("\0g\xd8\0\0g", 6, "text/plain", "UTF-16BE", "not in charset 'UTF-16BE' at byte 2");
    expect_no_text_of("\xff\xfeg\0\0\xdc", 6, "text/plain", "UTF-16", "not in charset 'UTF-16' at byte 4");
    expect_no_text_of("\0g\0", 3, "text/plain", "UTF-16",
                      "ends within a character of charset 'UTF-16' that begins at "
                      "byte 2");
    expect_no_text_of("\0g\xd8\x3d", 4, "text/plain", "UTF-16", "that begins at byte 2");
    expect_no_text_of("\0\x11\0\0", 4, "text/plain", "UTF-32", "not in charset 'UTF-32' at byte 0");
}

static void test_nul_in_another_charset_is_a_nul(void **state)
{
    (void)state;
    expect_no_text_of("\0a\0\0\0b", 6, "text/plain", "UTF-16", "the text holds a NUL byte");
}

/* musl has fewer converters than glibc. */
static void need_converters_of_glibc(void)
{
#ifndef __GLIBC__
    test_leave_out("musl has fewer converters than glibc");
#endif
}

/* Some converters keep a character until they know that none follows that goes with it. */
static void test_text_whose_last_character_is_held_back_is_whole(void **state)
{
    (void)state;
    need_converters_of_glibc();
    expect_text("A", "text/plain", "CP1258", "A");
    expect_text("bA", "text/plain", "TCVN", "bA");
}

/* glibc's EUC-JISX0213 and Shift_JISX0213 write a pair of characters without end when the room ends between the two:
 * what is read must not depend on where the room ends. */
static void test_characters_that_become_pairs_are_read_whatever_the_size_of_the_text(void **state)
{
    (void)state;
    need_converters_of_glibc();
    const size_t most = 5000;
    static const char pair[] = "\xe3\x81\x8b\xe3\x82\x9a"; /* KA with a semi-voiced sound mark */
    char *body = malloc(2 * most), *expected = malloc(6 * most + 1);
    assert_true(body && expected);
    for (size_t i = 0; i < 2 * most; i++)
        body[i] = i % 2 == 0 ? '\xa4' : '\xf7';
    for (size_t i = 0; i < 6 * most; i++)
        expected[i] = pair[i % 6];
    for (size_t count = 1; count <= most; count += count < 200 ? 1 : 97) {
        char end = expected[6 * count];
        expected[6 * count] = '\0';
        expect_text_of(body, 2 * count, "text/plain", "EUC-JISX0213", expected);
        expected[6 * count] = end;
    }
    free(body);
    free(expected);
}

static void test_large_text_grows_as_it_needs(void **state)
{
    (void)state;
    const size_t size = 1000000;
    char *body = cny_alloc(size);
    memset(body, 0x80, size);
    coney_message *message = message_of(body, size, "text/plain", "windows-1252");
    void *text;
    assert_ok(coney_text_converter()->from_message(&text, message));
    assert_int_equal(strlen(text), 3 * size);
    assert_string_equal((char *)text + 3 * (size - 1), "\xe2\x82\xac");
    coney_text_converter()->free_object(text);
    coney_message_unref(message);
    cny_free(body);
}

static void test_text_converter_reads_all_json(void **state)
{
    (void)state;
    expect_text("[1]", "application/json", NULL, "[1]");
    expect_text("[1]", "application/x+json", NULL, "[1]");
    expect_text("\"\xfc\"", "application/vnd.shop+JSON; charset=ISO-8859-1", NULL, "\"\xc3\xbc\"");
    expect_no_text("[1]", "application/xjson", NULL, "content type 'application/xjson' is no text");
}

static void expect_json_text(const void *body, size_t size, const char *content_type, const char *content_encoding,
                             const char *expected)
{
    coney_message *message = message_of(body, size, content_type, content_encoding);
    json_t *json;
    assert_ok(coney_message_json(&json, message));
    assert_string_equal(json_string_value(json), expected);
    json_decref(json);
    coney_message_unref(message);
}

static void test_json_is_read_in_its_charset(void **state)
{
    (void)state;
    expect_json_text("\"\xfc\"", 3, "application/json;charset=ISO-8859-1", NULL, "\xc3\xbc");
    expect_json_text("\"\xfc\"", 3, "application/x+json", "ISO-8859-1", "\xc3\xbc");
    expect_json_text("\0\"\0\xfc\0\"", 6, "application/json", "UTF-16", "\xc3\xbc");
    expect_json_text("\"\xc3\xbc\"", 4, "application/json;charset=ISO-8859-1", "UTF-8", "\xc3\xbc");
}

static void test_json_may_begin_with_a_byte_order_mark(void **state)
{
    (void)state;
    expect_json_text("\xef\xbb\xbf\"a\"", 6, "application/json", NULL, "a");
    expect_json_text("\xff\xfe\"\0a\0\"\0", 8, "application/json", "UTF-16", "a");
    expect_json_text("\xff\xfe\"\0a\0\"\0", 8, "application/json", "UTF-16LE", "a");
}

static void test_json_in_an_unknown_charset_is_a_conversion_error(void **state)
{
    (void)state;
    json_t *json;
    coney_message *message = message_of("[]", 2, "application/json;charset=no-such-charset", NULL);
    assert_fails(coney_message_json(&json, message), CONEY_E_CONVERSION, "charset 'no-such-charset'");
    coney_message_unref(message);
}

static void test_limits_of_json_hold_in_any_charset(void **state)
{
    (void)state;
    json_t *json;
    coney_message *message = message_of("\0[\0[\0]\0]", 8, "application/json", "UTF-16");
    assert_fails(coney_message_json_within(&json, message, &(coney_json_limits){.max_depth = 1}), CONEY_E_CONVERSION,
                 "max_depth");
    coney_message_unref(message);
}

/* ---- writing ---- */

static void expect_written(const coney_properties *properties, const void *body, size_t size)
{
    coney_message *message;
    void *text;
    assert_ok(coney_text_converter()->to_message(&message, "g\xc3\xbc", properties));
    assert_int_equal(coney_message_size(message), size);
    assert_memory_equal(coney_message_body(message), body, size);
    assert_ok(coney_text_converter()->from_message(&text, message));
    assert_string_equal(text, "g\xc3\xbc");
    coney_text_converter()->free_object(text);
    coney_message_unref(message);
}

static void test_text_is_written_in_the_charset_that_the_properties_name(void **state)
{
    (void)state;
    expect_written(&(coney_properties){.content_type = "text/plain;charset=ISO-8859-1"}, "g\xfc", 2);
    expect_written(&(coney_properties){.content_encoding = "ISO-8859-1"}, "g\xfc", 2);
    expect_written(&(coney_properties){.content_encoding = "UTF-16"}, "\xfe\xff\0g\0\xfc", 6);
    expect_written(&(coney_properties){.content_encoding = "UTF-32"}, "\0\0\xfe\xff\0\0\0g\0\0\0\xfc", 12);
    expect_written(&(coney_properties){.content_type = "text/plain;charset=UTF-8"}, "g\xc3\xbc", 3);
    expect_written(NULL, "g\xc3\xbc", 3);
}

static void test_json_is_written_in_the_charset_that_the_properties_name(void **state)
{
    (void)state;
    json_t *json = json_string("\xc3\xbc");
    coney_message *message;
    assert_ok(coney_message_new_json(&message, json,
                                     &(coney_properties){.content_type = "application/json;charset=ISO-8859-1"}));
    assert_string_equal(coney_message_body(message), "\"\xfc\"");
    coney_message_unref(message);
    json_decref(json);
}

static void test_what_the_charset_cannot_say_is_not_written(void **state)
{
    (void)state;
    coney_message *message;
    const coney_converter *converter = coney_text_converter();
    assert_fails(
        converter->to_message(&message, "1 \xe2\x82\xac", &(coney_properties){.content_encoding = "ISO-8859-1"}),
        CONEY_E_CONVERSION, "charset 'ISO-8859-1' has no character for the one at byte 2 of the text");
    assert_fails(converter->to_message(&message, "\xe2\x82\xac", &(coney_properties){.content_encoding = "ISO-8859-1"}),
                 CONEY_E_CONVERSION, "charset 'ISO-8859-1' has no character for the one at byte 0 of the text");
    assert_fails(converter->to_message(&message, "x", &(coney_properties){.content_encoding = "gzip"}),
                 CONEY_E_CONVERSION,
                 "content encoding 'gzip' is no charset; name a charset, and compress with coney_compress_processor()");
}

static void test_memory_that_fails_leaks_nothing(void **state)
{
    (void)state;
    coney_message *message = message_of(WORD_LATIN1, 4, "text/plain", "ISO-8859-1");
    void *text = NULL;
    coney_status status = CONEY_E_NO_MEMORY;
    for (int i = 0; status == CONEY_E_NO_MEMORY && i < 20; i++) {
        cny_alloc_fail_after(i);
        status = coney_text_converter()->from_message(&text, message);
        cny_alloc_fail_after(-1);
        assert_true(status == CONEY_E_NO_MEMORY || (status == CONEY_OK && i > 0));
    }
    assert_ok(status);
    coney_text_converter()->free_object(text);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_encoding_names_the_charset),
        cmocka_unit_test(test_parameter_of_the_content_type_names_the_charset_otherwise),
        cmocka_unit_test(test_content_encoding_wins_over_the_parameter),
        cmocka_unit_test(test_utf8_is_the_charset_if_none_is_named),
        cmocka_unit_test(test_unknown_charset_is_a_conversion_error),
        cmocka_unit_test(test_name_that_is_more_than_a_name_never_reaches_the_system),
        cmocka_unit_test(test_text_of_ascii_may_be_utf8),
        cmocka_unit_test(test_order_of_bytes_is_that_of_the_mark_or_else_big_endian),
        cmocka_unit_test(test_body_that_is_not_in_its_charset_is_refused_with_the_place),
        cmocka_unit_test(test_nul_in_another_charset_is_a_nul),
        cmocka_unit_test(test_text_whose_last_character_is_held_back_is_whole),
        cmocka_unit_test(test_characters_that_become_pairs_are_read_whatever_the_size_of_the_text),
        cmocka_unit_test(test_large_text_grows_as_it_needs),
        cmocka_unit_test(test_text_converter_reads_all_json),
        cmocka_unit_test(test_json_is_read_in_its_charset),
        cmocka_unit_test(test_json_may_begin_with_a_byte_order_mark),
        cmocka_unit_test(test_json_in_an_unknown_charset_is_a_conversion_error),
        cmocka_unit_test(test_limits_of_json_hold_in_any_charset),
        cmocka_unit_test(test_text_is_written_in_the_charset_that_the_properties_name),
        cmocka_unit_test(test_json_is_written_in_the_charset_that_the_properties_name),
        cmocka_unit_test(test_what_the_charset_cannot_say_is_not_written),
        cmocka_unit_test(test_memory_that_fails_leaks_nothing),
    };
    return cmocka_run_group_tests_name("charset", tests, NULL, NULL);
}
