/* SPDX-License-Identifier: MIT */
/* Messages with compressed bodies, and processors that are made for one message. */
#include "support/compressed.h"

const char test_words[] = "Spring and Coney, Spring and Coney, Spring and Coney";

coney_processor test_compressing(const coney_compress_options *options)
{
    coney_processor processor;
    assert_ok(coney_compress_processor(&processor, options));
    return processor;
}

coney_processor test_decompressing(const coney_decompress_options *options)
{
    coney_processor processor;
    assert_ok(coney_decompress_processor(&processor, options));
    return processor;
}

coney_status test_apply(coney_message **message, coney_processor processor)
{
    coney_message *before = *message;
    coney_status status = processor.process(message, "", "", processor.user);
    if (*message != before)
        coney_message_unref(before);
    coney_processor_free(&processor);
    return status;
}

coney_message *test_flagged(const void *body, size_t size, const char *encoding)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_bool(headers, "springAutoDecompress", true));
    assert_ok(coney_table_set_string(headers, "other", "stays"));
    assert_ok(
        coney_message_new(&message, body, size, &(coney_properties){.headers = headers, .content_encoding = encoding}));
    coney_table_free(headers);
    return message;
}

void test_expect_encoding(const coney_message *message, const char *encoding, bool flag)
{
    const char *seen = coney_message_properties(message)->content_encoding;
    assert_string_equal(seen ? seen : "(none)", encoding ? encoding : "(none)");
    const coney_value *value = coney_message_header(message, "springAutoDecompress");
    assert_true(flag == (value && value->type == CONEY_BOOL && value->as.boolean));
    assert_true(flag || !value);
}

void test_expect_text(const coney_message *message)
{
    assert_int_equal(coney_message_size(message), TEST_WORDS_SIZE);
    assert_memory_equal(coney_message_body(message), test_words, TEST_WORDS_SIZE + 1); /* and a NUL */
}

void test_expect_decompressed(const void *body, size_t size, const char *encoding, const char *encoding_after)
{
    coney_message *message = test_flagged(body, size, encoding);
    assert_ok(test_apply(&message, test_decompressing(NULL)));
    test_expect_text(message);
    test_expect_encoding(message, encoding_after, false);
    assert_string_equal(coney_message_header(message, "other")->as.bytes.data, "stays");
    coney_message_unref(message);
}

void test_expect_refused(const void *body, size_t size, const char *encoding, const char *words)
{
    coney_message *message = test_flagged(body, size, encoding), *before = message;
    assert_fails(test_apply(&message, test_decompressing(NULL)), CONEY_E_CONVERSION, words);
    assert_ptr_equal(message, before);
    coney_message_unref(message);
}
