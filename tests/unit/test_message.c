/* SPDX-License-Identifier: MIT */
/* Messages and their properties. */
#include "support/test_support.h"

#include <pthread.h>

static void test_message_copies_body_and_properties(void **state)
{
    (void)state;
    char body[] = "body", type[] = "type";
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "x", "y"));
    coney_message *message;
    assert_ok(coney_message_new(&message, body, 4,
                                &(coney_properties){.type = type,
                                                    .headers = headers,
                                                    .priority = 9,
                                                    .delivery_mode = CONEY_TRANSIENT,
                                                    .timestamp = 1700000000}));
    coney_table_free(headers);
    body[0] = type[0] = '?';
    assert_int_equal(coney_message_size(message), 4);
    assert_memory_equal(coney_message_body(message), "body", 4);
    const coney_properties *properties = coney_message_properties(message);
    assert_string_equal(properties->type, "type");
    assert_null(properties->content_type);
    assert_int_equal(properties->priority, 9);
    assert_int_equal(properties->delivery_mode, CONEY_TRANSIENT);
    assert_string_equal(coney_message_header(message, "x")->as.bytes.data, "y");
    assert_null(coney_message_header(message, "z"));
    assert_string_equal(coney_message_exchange(message), "");
    assert_false(coney_message_redelivered(message));
    coney_message_unref(message);
}

static void test_empty_body_is_a_body(void **state)
{
    (void)state;
    coney_message *message;
    assert_ok(coney_message_new(&message, NULL, 0, NULL));
    assert_int_equal(coney_message_size(message), 0);
    assert_non_null(coney_message_body(message));
    coney_message_unref(message);
    assert_fails(coney_message_new(&message, NULL, 1, NULL), CONEY_E_INVALID, "body is NULL");
}

static void test_properties_are_checked(void **state)
{
    (void)state;
    char text[257];
    memset(text, 't', 256);
    text[256] = '\0';
    const struct {
        coney_properties properties;
        const char *words;
    } wrong[] = {
        {{.message_id = text}, "message id 'ttt"},
        {{.correlation_id = "\xff"}, "correlation id is not UTF-8"},
        {{.expiration = "soon"}, "expiration 'soon' is no number"},
        {{.expiration = ""}, "expiration '' is no number"},
        {{.expiration = "-1"}, "expiration '-1' is no number"},
        {{.delivery_mode = (coney_delivery_mode)3}, "delivery mode 3"},
        {{.timestamp = -1}, "before 1970"},
    };
    coney_message *message;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(coney_message_new(&message, "", 0, &wrong[i].properties), CONEY_E_INVALID, wrong[i].words);
}

static void *ref_and_unref(void *message)
{
    for (int i = 0; i < 10000; i++)
        coney_message_unref(coney_message_ref(message));
    return NULL;
}

static void test_references_are_counted_across_threads(void **state)
{
    (void)state;
    coney_message *message = test_text("shared");
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, message), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        pthread_join(threads[i], NULL);
    assert_memory_equal(coney_message_body(message), "shared", 6);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_copies_body_and_properties),
        cmocka_unit_test(test_empty_body_is_a_body),
        cmocka_unit_test(test_properties_are_checked),
        cmocka_unit_test(test_references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
