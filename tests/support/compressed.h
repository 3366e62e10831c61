/* SPDX-License-Identifier: MIT */
/* What the unit tests of compression share: messages with compressed bodies, and running a processor on them. */
#ifndef CNY_TEST_COMPRESSED_H
#define CNY_TEST_COMPRESSED_H

#include "support/test_support.h"

/* What the bodies in these tests say. */
extern const char test_words[];
enum { TEST_WORDS_SIZE = 52 };

coney_processor test_compressing(const coney_compress_options *options);
coney_processor test_decompressing(const coney_decompress_options *options);

/* Puts the result in place of the message, and frees the processor. */
coney_status test_apply(coney_message **message, coney_processor processor);

/* A message with the header springAutoDecompress, and with the header "other". */
coney_message *test_flagged(const void *body, size_t size, const char *encoding);

void test_expect_encoding(const coney_message *message, const char *encoding, bool flag);
void test_expect_text(const coney_message *message); /* the words */
void test_expect_decompressed(const void *body, size_t size, const char *encoding, const char *encoding_after);
void test_expect_refused(const void *body, size_t size, const char *encoding, const char *words);

#endif
