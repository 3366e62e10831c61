/* SPDX-License-Identifier: MIT */
/* Compressing and decompressing processors: Spring's format on the wire, limits, damage, memory
 * that runs out. */
#include "amqp/amqp.h"
#include "support/compressed.h"

#include <stdlib.h>

/* The text as Java's GZIPOutputStream (whose header names neither level nor system) and DeflaterOutputStream
 * write it at BEST_SPEED. */
static const char java_gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x00\x0b\x2e\x28\xca\xcc\x4b\x57\x48\xcc\x4b\x51"
                                "\x70\xce\xcf\x4b\xad\xd4\x51\x08\x26\x28\x02\x00\x92\x71\x99\x42\x34\x00\x00\x00";
static const char java_deflate[] =
    "\x78\x01\x0b\x2e\x28\xca\xcc\x4b\x57\x48\xcc\x4b\x51\x70\xce\xcf\x4b\xad\xd4\x51\x08"
    "\x26\x28\x02\x00\xe4\x5c\x12\x45";
enum { JAVA_GZIP_SIZE = sizeof java_gzip - 1, JAVA_DEFLATE_SIZE = sizeof java_deflate - 1 };

/* ---- compressing ---- */

static void test_gzip_is_the_default_at_best_speed(void **state)
{
    (void)state;
    coney_message *message = test_text(test_words);
    assert_ok(test_apply(&message, test_compressing(NULL)));
    test_expect_encoding(message, "gzip", true);
    const uint8_t *body = coney_message_body(message);
    assert_true(coney_message_size(message) < TEST_WORDS_SIZE);
    assert_memory_equal(body, "\x1f\x8b\x08\x00", 4);
    assert_int_equal(body[8], 4); /* fastest */
    coney_message_unref(message);
}

static void test_deflate_has_the_format_of_zlib(void **state)
{
    (void)state;
    coney_message *message = test_text(test_words);
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.compression = CONEY_DEFLATE})));
    test_expect_encoding(message, "deflate", true);
    assert_true(coney_message_size(message) < TEST_WORDS_SIZE);
    assert_memory_equal(coney_message_body(message), "\x78\x01", 2); /* fastest */
    coney_message_unref(message);
}

static void test_encoding_is_put_in_front(void **state)
{
    (void)state;
    coney_message *message;
    assert_ok(
        coney_message_new(&message, test_words, TEST_WORDS_SIZE, &(coney_properties){.content_encoding = "UTF-8"}));
    assert_ok(test_apply(&message, test_compressing(NULL)));
    test_expect_encoding(message, "gzip, UTF-8", true);
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.compression = CONEY_DEFLATE})));
    test_expect_encoding(message, "deflate, gzip, UTF-8", true);
    coney_message_unref(message);
}

static void test_header_may_be_left_out(void **state)
{
    (void)state;
    coney_message *message = test_text(test_words);
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.no_auto_decompress = true})));
    test_expect_encoding(message, "gzip", false);
    coney_message_unref(message);
}

static void test_higher_level_makes_it_smaller(void **state)
{
    (void)state;
    coney_message *fast = test_pattern(100000), *small = test_pattern(100000);
    assert_ok(test_apply(&fast, test_compressing(&(coney_compress_options){.level = 1})));
    assert_ok(test_apply(&small, test_compressing(&(coney_compress_options){.level = 9})));
    assert_true(coney_message_size(small) < coney_message_size(fast));
    coney_message_unref(fast);
    coney_message_unref(small);
}

static void test_wrong_options_are_refused(void **state)
{
    (void)state;
    coney_processor processor;
    assert_fails(coney_compress_processor(&processor, &(coney_compress_options){.level = 10}), CONEY_E_INVALID,
                 "compression is 10; 1 to 9");
    assert_fails(coney_compress_processor(&processor, &(coney_compress_options){.level = -1}), CONEY_E_INVALID, "-1");
    assert_fails(coney_compress_processor(&processor, &(coney_compress_options){.compression = (coney_compression)7}),
                 CONEY_E_INVALID, "7 is no coney_compression");
    assert_fails(coney_compress_processor(NULL, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_decompress_processor(NULL, NULL), CONEY_E_INVALID, "NULL");
}

static void test_encoding_that_would_be_too_long_is_refused(void **state)
{
    (void)state;
    char encoding[256];
    memset(encoding, 'e', 255);
    encoding[255] = '\0';
    coney_message *message;
    assert_ok(
        coney_message_new(&message, test_words, TEST_WORDS_SIZE, &(coney_properties){.content_encoding = encoding}));
    assert_fails(test_apply(&message, test_compressing(NULL)), CONEY_E_INVALID, "content encoding");
    coney_message_unref(message);
}

/* ---- decompressing ---- */

static void test_what_java_compressed_is_read(void **state)
{
    (void)state;
    test_expect_decompressed(java_gzip, JAVA_GZIP_SIZE, "gzip", NULL);
    test_expect_decompressed(java_deflate, JAVA_DEFLATE_SIZE, "deflate", NULL);
}

static void test_first_encoding_is_taken_off_at_comma_or_colon(void **state)
{
    (void)state;
    test_expect_decompressed(java_gzip, JAVA_GZIP_SIZE, "gzip, UTF-8", "UTF-8");
    test_expect_decompressed(java_gzip, JAVA_GZIP_SIZE, "gzip:UTF-8", "UTF-8");
    test_expect_decompressed(java_gzip, JAVA_GZIP_SIZE, "GZIP ,UTF-8", "UTF-8");
    test_expect_decompressed(java_gzip, JAVA_GZIP_SIZE, "gzip,", NULL);
}

static void test_all_stages_are_taken_off(void **state)
{
    (void)state;
    coney_message *message = test_flagged(test_words, TEST_WORDS_SIZE, "UTF-8");
    assert_ok(test_apply(&message, test_compressing(NULL)));
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.compression = CONEY_DEFLATE})));
    assert_ok(test_apply(&message, test_decompressing(NULL)));
    test_expect_text(message);
    test_expect_encoding(message, "UTF-8", false);
    coney_message_unref(message);
}

static void test_stages_have_a_limit(void **state)
{
    (void)state;
    coney_message *message = test_text(test_words);
    for (int i = 0; i < 5; i++)
        assert_ok(test_apply(&message, test_compressing(NULL)));
    assert_fails(test_apply(&message, test_decompressing(NULL)), CONEY_E_CONVERSION, "more than 4 times");
    test_expect_encoding(message, "gzip, gzip, gzip, gzip, gzip", true);
    coney_message_unref(message);
}

static void expect_untouched(const coney_properties *properties, const coney_decompress_options *options)
{
    coney_message *message, *before;
    assert_ok(coney_message_new(&message, java_gzip, JAVA_GZIP_SIZE, properties));
    before = message;
    assert_ok(test_apply(&message, test_decompressing(options)));
    assert_ptr_equal(message, before);
    coney_message_unref(message);
}

static void test_messages_without_the_header_or_encoding_stay(void **state)
{
    (void)state;
    coney_table *no = coney_table_new(), *number = coney_table_new(), *yes = coney_table_new();
    assert_ok(coney_table_set_bool(no, "springAutoDecompress", false));
    assert_ok(coney_table_set_int64(number, "springAutoDecompress", 1));
    assert_ok(coney_table_set_bool(yes, "springAutoDecompress", true));
    expect_untouched(&(coney_properties){.content_encoding = "gzip"}, NULL);
    expect_untouched(&(coney_properties){.content_encoding = "gzip", .headers = no}, NULL);
    expect_untouched(&(coney_properties){.content_encoding = "gzip", .headers = number}, NULL);
    expect_untouched(&(coney_properties){.content_encoding = "UTF-8", .headers = yes}, NULL);
    expect_untouched(&(coney_properties){.content_encoding = "gzipped", .headers = yes}, NULL);
    expect_untouched(&(coney_properties){.headers = yes}, NULL);
    expect_untouched(NULL, &(coney_decompress_options){.always = true});
    coney_table_free(no);
    coney_table_free(number);
    coney_table_free(yes);
}

static void test_always_needs_no_header(void **state)
{
    (void)state;
    coney_message *message;
    assert_ok(coney_message_new(&message, java_gzip, JAVA_GZIP_SIZE, &(coney_properties){.content_encoding = "gzip"}));
    assert_ok(test_apply(&message, test_decompressing(&(coney_decompress_options){.always = true})));
    test_expect_text(message);
    coney_message_unref(message);
}

static void expect_round_trip(coney_compression compression, size_t size)
{
    coney_message *message = test_pattern(size);
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.compression = compression})));
    assert_ok(test_apply(&message, test_decompressing(NULL)));
    assert_int_equal(coney_message_size(message), size);
    assert_true(test_is_pattern(message));
    coney_message_unref(message);
}

static void test_every_size_comes_back(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 65536, 1000003, 20000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        expect_round_trip(CONEY_GZIP, sizes[i]);
        expect_round_trip(CONEY_DEFLATE, sizes[i]);
    }
}

static void test_gzip_of_several_members_is_one_body(void **state)
{
    (void)state;
    char twice[2 * JAVA_GZIP_SIZE];
    memcpy(twice, java_gzip, JAVA_GZIP_SIZE);
    memcpy(twice + JAVA_GZIP_SIZE, java_gzip, JAVA_GZIP_SIZE);
    coney_message *message = test_flagged(twice, sizeof twice, "gzip");
    assert_ok(test_apply(&message, test_decompressing(NULL)));
    assert_int_equal(coney_message_size(message), 2 * TEST_WORDS_SIZE);
    assert_memory_equal((const char *)coney_message_body(message) + TEST_WORDS_SIZE, test_words, TEST_WORDS_SIZE);
    coney_message_unref(message);
    test_expect_refused(twice, sizeof twice - 9, "gzip", "cut off");
}

/* ---- what cannot be read ---- */

static void test_bytes_cut_off_anywhere_are_noticed(void **state)
{
    (void)state;
    for (size_t size = 0; size < JAVA_GZIP_SIZE; size++)
        test_expect_refused(java_gzip, size, "gzip, UTF-8",
                            "content encoding 'gzip, UTF-8': the compressed body is cut off");
    for (size_t size = 0; size < JAVA_DEFLATE_SIZE; size++)
        test_expect_refused(java_deflate, size, "deflate", "cut off");
}

static void test_damaged_bytes_are_noticed(void **state)
{
    (void)state;
    for (size_t i = 0; i < JAVA_DEFLATE_SIZE; i++) {
        char damaged[JAVA_DEFLATE_SIZE];
        memcpy(damaged, java_deflate, sizeof damaged);
        damaged[i] = (char)~damaged[i];
        test_expect_refused(damaged, sizeof damaged, "deflate", "the compressed body is ");
    }
    test_expect_refused(test_words, TEST_WORDS_SIZE, "gzip", "damaged: incorrect header check");
    test_expect_refused(java_deflate, JAVA_DEFLATE_SIZE, "gzip", "damaged: incorrect header check");
}

static void test_bytes_behind_the_end_are_noticed(void **state)
{
    (void)state;
    char more[JAVA_GZIP_SIZE + 3] = "";
    memcpy(more, java_gzip, JAVA_GZIP_SIZE);
    test_expect_refused(more, sizeof more, "gzip", "3 bytes follow");
    test_expect_refused(more, JAVA_GZIP_SIZE + 1, "gzip", "1 bytes follow");
    memcpy(more, java_deflate, JAVA_DEFLATE_SIZE);
    test_expect_refused(more, JAVA_DEFLATE_SIZE + 2, "deflate", "2 bytes follow");
}

static coney_status decompress_pattern(size_t size, size_t max_bytes)
{
    coney_message *message = test_pattern(size);
    assert_ok(test_apply(&message, test_compressing(NULL)));
    coney_status status = test_apply(&message, test_decompressing(&(coney_decompress_options){.max_bytes = max_bytes}));
    coney_message_unref(message);
    return status;
}

static void test_limit_holds_to_the_byte(void **state)
{
    (void)state;
    assert_ok(decompress_pattern(100000, 100000));
    assert_fails(decompress_pattern(100000, 99999), CONEY_E_CONVERSION, "more than the 99999 bytes");
    assert_ok(decompress_pattern(100000, CONEY_UNLIMITED_BYTES));
}

/* Bytes that do not become smaller, so that each stage produces about as many. */
static coney_message *compressed_noise(size_t size, int stages)
{
    coney_message *message;
    uint8_t *noise = malloc(size);
    uint32_t seed = 1;
    assert_non_null(noise);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        noise[i] = (uint8_t)(seed >> 24);
    }
    assert_ok(coney_message_new(&message, noise, size, NULL));
    free(noise);
    for (int i = 0; i < stages; i++)
        assert_ok(test_apply(&message, test_compressing(NULL)));
    return message;
}

static void test_limit_holds_for_all_stages_together(void **state)
{
    (void)state;
    const size_t size = 100000;
    coney_message *once = compressed_noise(size, 1), *twice = compressed_noise(size, 2);
    size_t both = coney_message_size(once) + size;
    assert_fails(test_apply(&twice, test_decompressing(&(coney_decompress_options){.max_bytes = both - 1})),
                 CONEY_E_CONVERSION, "stages before it");
    assert_ok(test_apply(&twice, test_decompressing(&(coney_decompress_options){.max_bytes = both})));
    assert_int_equal(coney_message_size(twice), size);
    coney_message_unref(once);
    coney_message_unref(twice);
}

static void test_all_stages_of_a_chain_count(void **state)
{
    (void)state;
    const size_t size = 100000;
    coney_message *message = compressed_noise(size, 4);
    assert_fails(test_apply(&message, test_decompressing(&(coney_decompress_options){.max_bytes = 3 * size})),
                 CONEY_E_CONVERSION, "more than the 300000 bytes");
    assert_ok(test_apply(&message, test_decompressing(&(coney_decompress_options){.max_bytes = 5 * size})));
    coney_message_unref(message);
}

/* A hundred kilobytes that would become more than a hundred megabytes. */
static void test_bomb_is_defused_by_default(void **state)
{
    (void)state;
    enum { SIZE = 100 * 1024 * 1024 + 1 };
    char *zeroes = calloc(1, SIZE);
    assert_non_null(zeroes);
    coney_message *message;
    assert_ok(coney_message_new(&message, zeroes, SIZE, NULL));
    free(zeroes);
    assert_ok(test_apply(&message, test_compressing(&(coney_compress_options){.level = 9})));
    assert_true(coney_message_size(message) < 110000);
    assert_fails(test_apply(&message, test_decompressing(NULL)), CONEY_E_CONVERSION, "more than the 104857600 bytes");
    coney_message_unref(message);
}

/* ---- memory that runs out ---- */

static coney_status there_and_back(coney_message *message)
{
    coney_processor there = {0}, back = {0};
    coney_message *result = coney_message_ref(message);
    coney_status status = coney_compress_processor(&there, NULL);
    if (status == CONEY_OK)
        status = test_apply(&result, there);
    if (status == CONEY_OK)
        status = coney_decompress_processor(&back, NULL);
    if (status == CONEY_OK)
        status = test_apply(&result, back);
    coney_message_unref(result);
    return status;
}

static void test_every_failing_allocation_is_survived(void **state)
{
    (void)state;
    coney_message *message = test_pattern(50000);
    coney_status status = CONEY_E_NO_MEMORY;
    int successes = 0;
    for (; status != CONEY_OK && successes < 1000; successes++) {
        cny_alloc_fail_after(successes);
        status = there_and_back(message);
        cny_alloc_fail_after(-1);
        if (status != CONEY_OK)
            assert_int_equal(status, CONEY_E_NO_MEMORY);
    }
    assert_int_equal(status, CONEY_OK);
    assert_true(successes > 10);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip_is_the_default_at_best_speed),
        cmocka_unit_test(test_deflate_has_the_format_of_zlib),
        cmocka_unit_test(test_encoding_is_put_in_front),
        cmocka_unit_test(test_header_may_be_left_out),
        cmocka_unit_test(test_higher_level_makes_it_smaller),
        cmocka_unit_test(test_wrong_options_are_refused),
        cmocka_unit_test(test_encoding_that_would_be_too_long_is_refused),
        cmocka_unit_test(test_what_java_compressed_is_read),
        cmocka_unit_test(test_first_encoding_is_taken_off_at_comma_or_colon),
        cmocka_unit_test(test_all_stages_are_taken_off),
        cmocka_unit_test(test_stages_have_a_limit),
        cmocka_unit_test(test_messages_without_the_header_or_encoding_stay),
        cmocka_unit_test(test_always_needs_no_header),
        cmocka_unit_test(test_every_size_comes_back),
        cmocka_unit_test(test_gzip_of_several_members_is_one_body),
        cmocka_unit_test(test_bytes_cut_off_anywhere_are_noticed),
        cmocka_unit_test(test_damaged_bytes_are_noticed),
        cmocka_unit_test(test_bytes_behind_the_end_are_noticed),
        cmocka_unit_test(test_limit_holds_to_the_byte),
        cmocka_unit_test(test_limit_holds_for_all_stages_together),
        cmocka_unit_test(test_all_stages_of_a_chain_count),
        cmocka_unit_test(test_bomb_is_defused_by_default),
        cmocka_unit_test(test_every_failing_allocation_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
