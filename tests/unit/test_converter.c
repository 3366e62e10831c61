/* SPDX-License-Identifier: MIT */
/* The bytes, text and JSON converters. */
#include "support/test_support.h"

static coney_message *message_of(const char *body, const char *content_type, const char *content_encoding)
{
    coney_message *message;
    assert_ok(
        coney_message_new(&message, body, strlen(body),
                          &(coney_properties){.content_type = content_type, .content_encoding = content_encoding}));
    return message;
}

static void test_json_goes_out_as_spring_writes_it(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:i, s:s}", "id", 7, "name", "caf\xc3\xa9");
    coney_message *message;
    assert_ok(coney_json_converter()->to_message(&message, json, NULL));
    assert_string_equal(coney_message_properties(message)->content_type, "application/json");
    assert_string_equal(coney_message_properties(message)->content_encoding, "UTF-8");
    assert_string_equal(coney_message_body(message), "{\"id\":7,\"name\":\"caf\xc3\xa9\"}");
    coney_message_unref(message);
    json_decref(json);
}

static void test_json_comes_back(void **state)
{
    (void)state;
    static const char *const types[] = {"application/json",          "application/JSON; charset=utf-8", "text/x-json",
                                        "application/vnd.shop+json", "application/octet-stream",        NULL};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        coney_message *message = message_of("[1,null,\"a\"]", types[i], "utf-8");
        void *object;
        assert_ok(coney_json_converter()->from_message(&object, message));
        assert_int_equal(json_array_size(object), 3);
        coney_json_converter()->free_object(object);
        coney_message_unref(message);
    }
}

static void test_any_json_value_is_a_body(void **state)
{
    (void)state;
    static const char *const bodies[] = {"null", "true", "42", "\"text\"", "{}"};
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        coney_message *message = message_of(bodies[i], "application/json", NULL), *back;
        json_t *json;
        assert_ok(coney_message_json(&json, message));
        assert_ok(coney_message_new_json(&back, json, NULL));
        assert_string_equal(coney_message_body(back), bodies[i]);
        json_decref(json);
        coney_message_unref(back);
        coney_message_unref(message);
    }
}

static void test_object_of_another_kind_is_no_json(void **state)
{
    (void)state;
    coney_message *message = (coney_message *)state;
    const coney_bytes bytes = {.data = "{}", .size = 2};
    assert_fails(coney_json_converter()->to_message(&message, "carrots", NULL), CONEY_E_CONVERSION, "not a json_t");
    assert_fails(coney_json_converter()->to_message(&message, &bytes, NULL), CONEY_E_CONVERSION, "not a json_t");
}

static void test_what_is_no_json_is_refused_with_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *body, *type, *encoding, *words;
    } wrong[] = {
        {"{\"id\":", "application/json", NULL, "invalid JSON at line 1, column 6"},
        {"", "application/json", NULL, "the body is empty"},
        {"{} x", NULL, NULL, "invalid JSON"},
        {"{}", "text/plain", NULL, "content type 'text/plain' is not JSON"},
        {"{}", "application/jsonx", NULL, "content type 'application/jsonx' is not JSON"},
        {"{}", "application/json", "gzip", "content encoding 'gzip' is not understood"},
        {"{\"a\":\"\xff\"}", "application/json", "UTF-8", "not UTF-8 (at offset 6)"},
    };
    json_t *json;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        coney_message *message = message_of(wrong[i].body, wrong[i].type, wrong[i].encoding);
        assert_fails(coney_message_json(&json, message), CONEY_E_CONVERSION, wrong[i].words);
        coney_message_unref(message);
    }
}

static void test_text_and_bytes_round_trip(void **state)
{
    (void)state;
    coney_message *message;
    void *object;
    assert_ok(coney_text_converter()->to_message(&message, "gr\xc3\xbc\xc3\x9f", NULL));
    assert_string_equal(coney_message_properties(message)->content_type, "text/plain");
    assert_string_equal(coney_message_properties(message)->content_encoding, "UTF-8");
    assert_ok(coney_text_converter()->from_message(&object, message));
    assert_string_equal(object, "gr\xc3\xbc\xc3\x9f");
    coney_text_converter()->free_object(object);
    coney_message_unref(message);

    assert_ok(coney_bytes_converter()->to_message(&message, &(coney_bytes){.data = "\0\1", .size = 2}, NULL));
    assert_string_equal(coney_message_properties(message)->content_type, "application/octet-stream");
    assert_ok(coney_bytes_converter()->from_message(&object, message));
    const coney_bytes *bytes = object;
    assert_int_equal(bytes->size, 2);
    assert_memory_equal(bytes->data, "\0\1", 3);
    coney_bytes_converter()->free_object(object);
    coney_message_unref(message);
}

static void test_what_is_no_text_is_refused(void **state)
{
    (void)state;
    void *object;
    coney_message *message = message_of("x", "image/png", NULL);
    assert_fails(coney_text_converter()->from_message(&object, message), CONEY_E_CONVERSION, "image/png");
    coney_message_unref(message);
    message = message_of("\xff", "text/html", NULL);
    assert_fails(coney_text_converter()->from_message(&object, message), CONEY_E_CONVERSION, "not UTF-8");
    coney_message_unref(message);
    assert_ok(coney_message_new(&message, "a\0b", 3, &(coney_properties){.content_type = "text/plain"}));
    assert_fails(coney_text_converter()->from_message(&object, message), CONEY_E_CONVERSION, "NUL");
    coney_message_unref(message);
    assert_fails(coney_text_converter()->to_message(&message, "\xff", NULL), CONEY_E_CONVERSION, "not UTF-8");
    assert_fails(coney_text_converter()->to_message(&message, NULL, NULL), CONEY_E_CONVERSION, "NULL");
}

static void test_properties_given_win(void **state)
{
    (void)state;
    coney_message *message;
    assert_ok(coney_text_converter()->to_message(&message, "<a/>",
                                                 &(coney_properties){.content_type = "text/xml", .message_id = "m1"}));
    assert_string_equal(coney_message_properties(message)->content_type, "text/xml");
    assert_null(coney_message_properties(message)->content_encoding);
    assert_string_equal(coney_message_properties(message)->message_id, "m1");
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_goes_out_as_spring_writes_it),
        cmocka_unit_test(test_json_comes_back),
        cmocka_unit_test(test_any_json_value_is_a_body),
        cmocka_unit_test(test_object_of_another_kind_is_no_json),
        cmocka_unit_test(test_what_is_no_json_is_refused_with_the_place),
        cmocka_unit_test(test_text_and_bytes_round_trip),
        cmocka_unit_test(test_what_is_no_text_is_refused),
        cmocka_unit_test(test_properties_given_win),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
