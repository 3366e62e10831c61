/* SPDX-License-Identifier: MIT */
/* Spring's batch format: its bytes and headers, and what is wrong with batches from elsewhere. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <stdlib.h>

static coney_message *with_headers(const void *body, size_t size, const coney_table *headers)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, body, size, &(coney_properties){.headers = headers, .type = "order"}));
    return message;
}

/* A message that says it is a batch, with this body. */
static coney_message *claimed_batch(const void *body, size_t size)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "springBatchFormat", "lengthHeader4"));
    assert_ok(coney_table_set_string(headers, "own", "yes"));
    coney_message *message = with_headers(body, size, headers);
    coney_table_free(headers);
    return message;
}

/* ---- many into one ---- */

static void test_batch_has_springs_bytes_and_headers(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "own", "yes"));
    assert_ok(coney_table_set_string(headers, "amqp_batchSize", "of an earlier one"));
    coney_message *messages[] = {with_headers("foo", 3, headers), test_text(""), test_text("quux")};
    coney_message *batch;
    assert_ok(coney_message_batch(&batch, messages, 3));
    const char expected[] = "\0\0\0\3foo\0\0\0\0\0\0\0\4quux";
    assert_int_equal(coney_message_size(batch), sizeof expected - 1);
    assert_memory_equal(coney_message_body(batch), expected, sizeof expected - 1);
    assert_string_equal(coney_message_properties(batch)->type, "order");
    assert_int_equal(coney_table_size(coney_message_properties(batch)->headers), 3);
    assert_string_equal(coney_message_header(batch, "own")->as.bytes.data, "yes");
    assert_string_equal(coney_message_header(batch, "springBatchFormat")->as.bytes.data, "lengthHeader4");
    assert_int_equal(coney_message_header(batch, "amqp_batchSize")->type, CONEY_INT32);
    assert_int_equal(coney_message_header(batch, "amqp_batchSize")->as.integer, 3);
    assert_true(coney_message_is_batch(batch));
    coney_message_unref(batch);
    for (size_t i = 0; i < COUNT_OF(messages); i++)
        coney_message_unref(messages[i]);
    coney_table_free(headers);
}

static void test_one_message_stays_what_it_is(void **state)
{
    (void)state;
    coney_message *message = test_text("alone"), *batch;
    assert_ok(coney_message_batch(&batch, &message, 1));
    assert_ptr_equal(batch, message);
    assert_false(coney_message_is_batch(batch));
    coney_message_unref(batch);
    coney_message_unref(message);
}

static void test_what_cannot_be_batched_is_refused(void **state)
{
    (void)state;
    coney_message *text = test_text("text"), *nested = claimed_batch("", 0), *batch = NULL;
    coney_message *hole[] = {text, NULL}, *nesting[] = {text, nested};
    assert_fails(coney_message_batch(NULL, &text, 1), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_batch(&batch, NULL, 1), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_batch(&batch, &text, 0), CONEY_E_INVALID, "0 messages");
    assert_fails(coney_message_batch(&batch, &text, CONEY_MAX_BATCH_SIZE + 1), CONEY_E_INVALID, "100001 messages");
    assert_fails(coney_message_batch(&batch, hole, 2), CONEY_E_INVALID, "message 1 is NULL");
    assert_fails(coney_message_batch(&batch, nesting, 2), CONEY_E_INVALID, "message 1 is a batch itself");
    text->size = (size_t)INT32_MAX + 1; /* not looked at */
    assert_fails(coney_message_batch(&batch, &text, 1), CONEY_E_INVALID, "the format allows 2147483647");
    text->size = 4;
    assert_null(batch);
    coney_message_unref(text);
    coney_message_unref(nested);
}

/* ---- one into many ---- */

typedef struct collected {
    coney_message *fragments[4];
    size_t calls, last_index, count, stop_at;
} collected;

static coney_status collect(coney_message *fragment, size_t index, size_t count, void *user)
{
    collected *all = user;
    all->last_index = index;
    all->count = count;
    if (all->calls < COUNT_OF(all->fragments))
        all->fragments[all->calls] = coney_message_ref(fragment);
    return ++all->calls == all->stop_at ? CONEY_E_STATE : CONEY_OK;
}

static void forget(collected *all)
{
    for (size_t i = 0; i < all->calls && i < COUNT_OF(all->fragments); i++)
        coney_message_unref(all->fragments[i]);
}

static void test_fragments_have_what_the_batch_was_received_with(void **state)
{
    (void)state;
    const char body[] = "\0\0\0\3foo\0\0\0\0\0\0\0\4quux";
    coney_message *batch = claimed_batch(body, sizeof body - 1);
    batch->exchange = "shop";
    batch->routing_key = "paid";
    batch->received_user_id = "bob";
    batch->redelivered = true;
    batch->delivery_tag = 7;
    collected all = {0};
    assert_ok(coney_message_debatch(batch, collect, &all));
    coney_message_unref(batch); /* which the fragments outlive */
    assert_int_equal(all.calls, 3);
    assert_int_equal(all.last_index, 2);
    assert_int_equal(all.count, 3);
    const char *texts[] = {"foo", "", "quux"};
    for (size_t i = 0; i < 3; i++) {
        const coney_message *fragment = all.fragments[i];
        assert_int_equal(coney_message_size(fragment), strlen(texts[i]));
        assert_string_equal(coney_message_body(fragment), texts[i]);
        assert_string_equal(coney_message_properties(fragment)->type, "order");
        assert_string_equal(coney_message_header(fragment, "own")->as.bytes.data, "yes");
        assert_null(coney_message_header(fragment, "springBatchFormat"));
        assert_string_equal(coney_message_exchange(fragment), "shop");
        assert_string_equal(coney_message_routing_key(fragment), "paid");
        assert_string_equal(coney_message_received_user_id(fragment), "bob");
        assert_true(coney_message_redelivered(fragment));
        assert_int_equal(fragment->delivery_tag, 7);
    }
    forget(&all);
}

static void test_handler_ends_the_walk(void **state)
{
    (void)state;
    coney_message *batch = claimed_batch("\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    collected all = {.stop_at = 2};
    assert_int_equal(coney_message_debatch(batch, collect, &all), CONEY_E_STATE);
    assert_int_equal(all.calls, 2);
    forget(&all);
    coney_message_unref(batch);
}

static void test_broken_batch_hands_out_nothing_and_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        size_t size;
        const char *words;
    } broken[] = {
        {"", 0, "the body is empty"},
        {"\0\0\0", 3, "insufficient batch data at offset 0: 3 bytes are left"},
        {"\0\0\0\2a", 5, "insufficient batch data at offset 0: fragment 0 has 2 bytes, 1 are left"},
        {"\0\0\0\1a\377\377\377\377bbbb", 13, "insufficient batch data at offset 5: fragment 1 has -1 bytes"},
        {"\0\0\0\1a\200\0\0\0", 9, "fragment 1 has -2147483648 bytes"},
        {"\0\0\0\1a\0\0\0\1b\0", 11,
         "insufficient batch data at offset 10: 1 bytes are left, the length of fragment 2"},
        {"\0\0\0\1a\177\377\377\377", 9, "fragment 1 has 2147483647 bytes, 0 are left"},
    };
    for (size_t i = 0; i < COUNT_OF(broken); i++) {
        coney_message *batch = claimed_batch(broken[i].body, broken[i].size);
        collected all = {0};
        assert_fails(coney_message_debatch(batch, collect, &all), CONEY_E_CONVERSION, broken[i].words);
        assert_int_equal(all.calls, 0);
        coney_message_unref(batch);
    }
}

static void test_batch_of_too_many_is_refused(void **state)
{
    (void)state;
    static const char zeros[4 * (CONEY_MAX_BATCH_SIZE + 1)];
    coney_message *batch = claimed_batch(zeros, sizeof zeros);
    collected all = {0};
    assert_fails(coney_message_debatch(batch, collect, &all), CONEY_E_CONVERSION, "more than 100000 messages");
    assert_int_equal(all.calls, 0);
    coney_message_unref(batch);
}

static void test_only_springs_format_is_a_batch(void **state)
{
    (void)state;
    coney_message *plain = test_text("plain");
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "springBatchFormat", "another"));
    coney_message *other = with_headers("", 0, headers);
    assert_false(coney_message_is_batch(NULL));
    assert_false(coney_message_is_batch(plain));
    assert_false(coney_message_is_batch(other));
    collected all = {0};
    assert_fails(coney_message_debatch(plain, collect, &all), CONEY_E_INVALID, "no batch");
    assert_fails(coney_message_debatch(NULL, collect, &all), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_debatch(plain, NULL, &all), CONEY_E_INVALID, "NULL");
    coney_table_free(headers);
    coney_message_unref(plain);
    coney_message_unref(other);
}

/* ---- without memory ---- */

static void test_memory_that_fails_leaks_nothing(void **state)
{
    (void)state;
    coney_message *pair[] = {test_text("one"), test_text("two")}, *batch;
    for (int successes = 0; successes < 20; successes++) {
        cny_alloc_fail_after(successes);
        coney_status status = coney_message_batch(&batch, pair, 2);
        collected all = {0};
        bool made = status == CONEY_OK;
        if (made) {
            status = coney_message_debatch(batch, collect, &all);
            coney_message_unref(batch);
        }
        cny_alloc_fail_after(-1);
        forget(&all);
        if (status != CONEY_OK)
            assert_int_equal(status, CONEY_E_NO_MEMORY);
        else
            assert_int_equal(all.calls, 2);
    }
    coney_message_unref(pair[0]);
    coney_message_unref(pair[1]);
}

static coney_status count_one(coney_message *fragment, size_t index, size_t count, void *user)
{
    (void)fragment;
    (void)index;
    (void)count;
    ++*(int *)user;
    return CONEY_OK;
}

static void expect_debatched(size_t fragments, size_t header_size, coney_status expected)
{
    static const uint8_t body[4 * CONEY_MAX_BATCH_SIZE];
    char *text = calloc(1, header_size + 1);
    memset(text, 'x', header_size);
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "springBatchFormat", "lengthHeader4"));
    assert_ok(coney_table_set_string(headers, "large", text));
    coney_message *batch = with_headers(body, 4 * fragments, headers);
    int handed_out = 0;
    coney_status status = coney_message_debatch(batch, count_one, &handed_out);
    if (expected == CONEY_OK)
        assert_ok(status);
    else
        assert_fails(status, expected, "each of which would have its");
    assert_int_equal(handed_out, expected == CONEY_OK ? fragments : 0);
    coney_message_unref(batch);
    coney_table_free(headers);
    free(text);
}

/* Whoever sends fragments on sends the headers with each of them: 13 GB of them here. */
static void test_batch_that_would_multiply_its_headers_without_limit_is_refused(void **state)
{
    (void)state;
    expect_debatched(CONEY_MAX_BATCH_SIZE, 130000, CONEY_E_CONVERSION);
    expect_debatched(CONEY_MAX_BATCH_SIZE, 2600, CONEY_OK);
    expect_debatched(2000, 130000, CONEY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_has_springs_bytes_and_headers),
        cmocka_unit_test(test_one_message_stays_what_it_is),
        cmocka_unit_test(test_what_cannot_be_batched_is_refused),
        cmocka_unit_test(test_fragments_have_what_the_batch_was_received_with),
        cmocka_unit_test(test_handler_ends_the_walk),
        cmocka_unit_test(test_broken_batch_hands_out_nothing_and_is_told),
        cmocka_unit_test(test_batch_of_too_many_is_refused),
        cmocka_unit_test(test_only_springs_format_is_a_batch),
        cmocka_unit_test(test_batch_that_would_multiply_its_headers_without_limit_is_refused),
        cmocka_unit_test(test_memory_that_fails_leaks_nothing),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
