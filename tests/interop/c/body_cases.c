/* SPDX-License-Identifier: MIT */
/* Texts in several charsets, bytes, compressed bodies and batches: BodyCases.java is the other side. */
#include "interop.h"

#define LATIN1_TEXT "Z\u00fcrich \u00e0 bient\u00f4t"

/* The text 200 times, as in Java. */
static const char *long_text(void)
{
    static const char once[] = INTEROP_TEXT " ";
    static char text[200 * (sizeof once - 1) + 1];
    for (size_t i = 0; i < 200; i++)
        memcpy(text + i * (sizeof once - 1), once, sizeof once);
    return text;
}

/* ---- texts and bytes ---- */

static void expect_text(coney_message *message, const char *text)
{
    void *got;
    assert_ok(coney_text_converter()->from_message(&got, message));
    assert_string_equal(got, text);
    coney_text_converter()->free_object(got);
}

static void expect_text_in(coney_message *message, const char *charset, const char *text)
{
    assert_string_equal(coney_message_properties(message)->content_type, "text/plain");
    assert_string_equal(coney_message_properties(message)->content_encoding, charset);
    expect_text(message, text);
    interop_expect_kind(message, CONEY_CONTENT_TEXT);
}

static coney_message *text_in(const char *charset, const char *text)
{
    coney_message *message;
    assert_ok(coney_text_converter()->to_message(&message, text, &(coney_properties){.content_encoding = charset}));
    return message;
}

static void read_utf8(coney_message *message, int index)
{
    (void)index;
    expect_text_in(message, "UTF-8", INTEROP_TEXT);
}

static void send_utf8(const char *queue)
{
    interop_send(queue, text_in("UTF-8", INTEROP_TEXT));
}

static void read_latin1(coney_message *message, int index)
{
    (void)index;
    expect_text_in(message, "ISO-8859-1", LATIN1_TEXT);
}

static void send_latin1(const char *queue)
{
    interop_send(queue, text_in("ISO-8859-1", LATIN1_TEXT));
}

static void read_utf16(coney_message *message, int index)
{
    (void)index;
    expect_text_in(message, "UTF-16", INTEROP_TEXT);
}

static void send_utf16(const char *queue)
{
    interop_send(queue, text_in("UTF-16", INTEROP_TEXT));
}

static const coney_bytes some_bytes = {"\0\1\2\xff\x80\x7f", 7};

static void read_bytes(coney_message *message, int index)
{
    (void)index;
    assert_string_equal(coney_message_properties(message)->content_type, "application/octet-stream");
    assert_int_equal(coney_message_size(message), some_bytes.size);
    assert_memory_equal(coney_message_body(message), some_bytes.data, some_bytes.size);
    interop_expect_kind(message, CONEY_CONTENT_BYTES);
}

static void send_bytes(const char *queue)
{
    coney_message *message;
    assert_ok(coney_bytes_converter()->to_message(&message, &some_bytes, NULL));
    interop_send(queue, message);
}

/* ---- compressed ---- */

static coney_message *decompressed(coney_message *message)
{
    coney_processor processor;
    coney_message *plain = coney_message_ref(message);
    assert_ok(coney_decompress_processor(&processor, NULL));
    interop_process(&plain, processor);
    return plain;
}

static void compress(coney_message **message, coney_compression compression)
{
    coney_processor processor;
    assert_ok(coney_compress_processor(&processor, &(coney_compress_options){.compression = compression}));
    interop_process(message, processor);
}

static void read_compressed(coney_message *message, const char *encoding)
{
    coney_message *plain = decompressed(message);
    assert_string_equal(coney_message_properties(message)->content_encoding, encoding);
    expect_text_in(plain, "UTF-8", long_text());
    coney_message_unref(plain);
}

/* Twice, because the Java side reads it in two ways. */
static void send_compressed(const char *queue, coney_compression compression)
{
    for (int i = 0; i < 2; i++) {
        coney_message *message = text_in("UTF-8", long_text());
        compress(&message, compression);
        interop_send(queue, message);
    }
}

static void read_gzip(coney_message *message, int index)
{
    (void)index;
    read_compressed(message, "gzip, UTF-8");
}

static void send_gzip(const char *queue)
{
    send_compressed(queue, CONEY_GZIP);
}

static void read_deflate(coney_message *message, int index)
{
    (void)index;
    read_compressed(message, "deflate, UTF-8");
}

static void send_deflate(const char *queue)
{
    send_compressed(queue, CONEY_DEFLATE);
}

static void read_gzip_json(coney_message *message, int index)
{
    (void)index;
    coney_message *plain = decompressed(message);
    interop_expect_header(plain, "__TypeId__", "org.coney.interop.Samples$Order");
    interop_expect_json(plain, INTEROP_ORDER);
    coney_message_unref(plain);
}

static void read_zip(coney_message *message, int index)
{
    (void)index;
    read_compressed(message, "zip, UTF-8");
}

static void send_zip(const char *queue)
{
    send_compressed(queue, CONEY_ZIP);
}

static void send_gzip_json(const char *queue)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    json_t *order = interop_json(INTEROP_ORDER);
    assert_ok(coney_table_set_string(headers, "__TypeId__", "org.coney.interop.Samples$Order"));
    assert_ok(coney_message_new_json(&message, order, &(coney_properties){.headers = headers}));
    compress(&message, CONEY_GZIP);
    coney_table_free(headers);
    json_decref(order);
    interop_send(queue, message);
}

static void read_twice(coney_message *message, int index)
{
    (void)index;
    read_compressed(message, "gzip, deflate, UTF-8");
}

static void send_twice(const char *queue)
{
    coney_message *message = text_in("UTF-8", long_text());
    compress(&message, CONEY_DEFLATE);
    compress(&message, CONEY_GZIP);
    interop_send(queue, message);
}

/* ---- batches ---- */

static const char *const texts[] = {"one", "", INTEROP_TEXT};

static coney_status read_fragment(coney_message *fragment, size_t index, size_t count, void *user)
{
    (void)user;
    assert_int_equal(count, COUNT_OF(texts));
    expect_text(fragment, texts[index]);
    return CONEY_OK;
}

static void read_batch(coney_message *message, int index)
{
    (void)index;
    assert_true(coney_message_is_batch(message));
    assert_int_equal(interop_header(message, CONEY_HEADER_BATCH_SIZE, CONEY_INT32)->as.integer, COUNT_OF(texts));
    assert_ok(coney_message_debatch(message, read_fragment, NULL));
}

static void read_batch_gzip(coney_message *message, int index)
{
    coney_message *plain = decompressed(message);
    read_batch(plain, index);
    coney_message_unref(plain);
}

static void send_batch(const char *queue)
{
    coney_batching_template *batching;
    assert_ok(coney_batching_template_new(&batching, client.sender, NULL));
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        coney_message *message = text_in("UTF-8", texts[i]);
        assert_ok(coney_batching_template_send(batching, queue, message, NULL, NULL, NULL));
        coney_message_unref(message);
    }
    coney_batching_template_free(batching); /* flushes */
}

static int fragments;

static coney_outcome on_fragment(coney_delivery *delivery, void *user)
{
    (void)user;
    const int index = fragments++;
    check_text(coney_delivery_payload(delivery), texts[index]);
    check(coney_delivery_is_last_in_batch(delivery) == (index + 1 == COUNT_OF(texts)));
    return CONEY_ACK;
}

static void serve_batch(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = on_fragment, .converter = coney_text_converter()},
                   1);
    assert_int_equal(fragments, COUNT_OF(texts));
}

const interop_case interop_body_cases[] = {
    {.name = "text-utf8", .read = read_utf8, .send = send_utf8},
    {.name = "text-latin1", .read = read_latin1, .send = send_latin1},
    {.name = "text-utf16", .read = read_utf16, .send = send_utf16},
    {.name = "bytes", .read = read_bytes, .send = send_bytes},
    {.name = "gzip", .read = read_gzip, .send = send_gzip},
    {.name = "deflate", .read = read_deflate, .send = send_deflate},
    {.name = "zip", .read = read_zip, .send = send_zip},
    {.name = "gzip-json", .read = read_gzip_json, .send = send_gzip_json},
    {.name = "deflate-gzip", .read = read_twice, .send = send_twice},
    {.name = "batch", .read = read_batch, .send = send_batch},
    {.name = "batch-gzip", .read = read_batch_gzip},
    {.name = "batch-to-listener", .serve = serve_batch, .send = send_batch},
    {0},
};
