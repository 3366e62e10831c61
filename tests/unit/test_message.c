/* SPDX-License-Identifier: MIT */
/* Messages and their properties. */
#include "amqp/amqp.h"
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

/* Who reads it need not look at the number, too. */
static void test_message_tells_whether_it_has_a_priority(void **state)
{
    (void)state;
    static const struct {
        coney_properties properties;
        bool expected;
    } cases[] = {{{.priority = 0}, false}, {{.priority = 1}, true}, {{.has_priority = true}, true}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        coney_message *message, *copy;
        assert_ok(coney_message_new(&message, "", 0, &cases[i].properties));
        assert_ok(coney_message_with(&copy, message, NULL, "other", 5));
        assert_int_equal(coney_message_properties(message)->has_priority, cases[i].expected);
        assert_int_equal(coney_message_properties(copy)->has_priority, cases[i].expected);
        coney_message_unref(message);
        coney_message_unref(copy);
    }
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
        {{.expiration = "soon"}, "expiration 'soon' is no number"},
        {{.expiration = ""}, "expiration '' is no number"},
        {{.expiration = "-1"}, "expiration '-1' is no number"},
        {{.delivery_mode = (coney_delivery_mode)3}, "delivery mode 3"},
    };
    coney_message *message;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(coney_message_new(&message, "", 0, &wrong[i].properties), CONEY_E_INVALID, wrong[i].words);
}

static coney_message *full_message(void)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "keep", "k"));
    assert_ok(coney_table_set_string(headers, "x", "old"));
    assert_ok(coney_message_new(&message, "body", 4, &(coney_properties){.type = "t", .headers = headers}));
    coney_table_free(headers);
    return message;
}

static void test_copy_with_other_properties_shares_the_body_which_outlives_the_first(void **state)
{
    (void)state;
    coney_message *first = full_message(), *second, *third;
    assert_ok(coney_message_with(&second, first, &(coney_properties){.type = "u"}, NULL, 0));
    assert_ok(coney_message_with(&third, second, NULL, NULL, 0));
    assert_ptr_equal(coney_message_body(second), coney_message_body(first));
    assert_ptr_equal(coney_message_body(third), coney_message_body(first));
    assert_string_equal(coney_message_properties(first)->type, "t");
    coney_message_unref(first);
    coney_message_unref(second);
    assert_int_equal(coney_message_size(third), 4);
    assert_memory_equal(coney_message_body(third), "body", 4);
    assert_string_equal(coney_message_properties(third)->type, "u");
    assert_null(coney_message_properties(third)->headers);
    coney_message_unref(third);
}

static void test_copy_with_other_body_keeps_properties_and_origin(void **state)
{
    (void)state;
    coney_message *first = full_message(), *copy;
    first->exchange = "e"; /* as of a received message */
    first->routing_key = "k";
    first->received_user_id = "bob";
    first->redelivered = true;
    first->delivery_tag = 7;
    assert_ok(coney_message_with(&copy, first, NULL, "other", 5));
    coney_message_unref(first);
    assert_memory_equal(coney_message_body(copy), "other", 6);
    assert_string_equal(coney_message_properties(copy)->type, "t");
    assert_string_equal(coney_message_header(copy, "x")->as.bytes.data, "old");
    assert_string_equal(coney_message_exchange(copy), "e");
    assert_string_equal(coney_message_routing_key(copy), "k");
    assert_string_equal(coney_message_received_user_id(copy), "bob");
    assert_null(coney_message_properties(copy)->user_id);
    assert_true(coney_message_redelivered(copy));
    assert_int_equal(copy->delivery_tag, 7);
    coney_message_unref(copy);
}

static void test_copy_may_have_an_empty_body(void **state)
{
    (void)state;
    coney_message *first = full_message(), *copy;
    assert_ok(coney_message_with(&copy, first, NULL, "", 0));
    assert_int_equal(coney_message_size(copy), 0);
    assert_string_equal(coney_message_body(copy), "");
    coney_message_unref(copy);
    coney_message_unref(first);
}

static void test_header_is_set_replaced_and_taken_away(void **state)
{
    (void)state;
    coney_message *first = full_message(), *plain = test_text("plain"), *copy;
    const coney_value value = coney_value_int64(5);
    assert_ok(coney_message_with_header(&copy, first, "x", &value));
    assert_int_equal(coney_message_header(copy, "x")->as.integer, 5);
    assert_string_equal(coney_message_header(copy, "keep")->as.bytes.data, "k");
    assert_ptr_equal(coney_message_body(copy), coney_message_body(first));
    coney_message_unref(copy);
    assert_ok(coney_message_with_header(&copy, first, "x", NULL));
    assert_null(coney_message_header(copy, "x"));
    assert_non_null(coney_message_header(copy, "keep"));
    assert_non_null(coney_message_header(first, "x"));
    coney_message_unref(copy);
    assert_ok(coney_message_with_header(&copy, plain, "new", &value));
    assert_int_equal(coney_message_header(copy, "new")->as.integer, 5);
    coney_message_unref(copy);
    coney_message_unref(plain);
    coney_message_unref(first);
}

static void test_wrong_copies_are_refused_and_leave_the_variable(void **state)
{
    (void)state;
    coney_message *first = full_message(), *copy = first;
    const coney_value wrong = {.type = CONEY_INT8, .as.integer = 128};
    assert_fails(coney_message_with(NULL, first, NULL, NULL, 0), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_with(&copy, NULL, NULL, NULL, 0), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_with(&copy, first, NULL, NULL, 1), CONEY_E_INVALID, "NULL");
    assert_fails(coney_message_with(&copy, copy, &(coney_properties){.expiration = "x"}, NULL, 0), CONEY_E_INVALID,
                 "expiration 'x'");
    assert_fails(coney_message_with_header(&copy, copy, "x", &wrong), CONEY_E_INVALID, "'x'");
    assert_fails(coney_message_with_header(&copy, copy, NULL, &wrong), CONEY_E_INVALID, "NULL");
    for (int i = 0; i < 2; i++) {
        cny_alloc_fail_after(i);
        assert_int_equal(coney_message_with_header(&copy, copy, "y", NULL), CONEY_E_NO_MEMORY);
        cny_alloc_fail_after(-1);
    }
    assert_ptr_equal(copy, first);
    coney_message_unref(first);
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
        cmocka_unit_test(test_message_tells_whether_it_has_a_priority),
        cmocka_unit_test(test_empty_body_is_a_body),
        cmocka_unit_test(test_properties_are_checked),
        cmocka_unit_test(test_copy_with_other_properties_shares_the_body_which_outlives_the_first),
        cmocka_unit_test(test_copy_with_other_body_keeps_properties_and_origin),
        cmocka_unit_test(test_copy_may_have_an_empty_body),
        cmocka_unit_test(test_header_is_set_replaced_and_taken_away),
        cmocka_unit_test(test_wrong_copies_are_refused_and_leave_the_variable),
        cmocka_unit_test(test_references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
