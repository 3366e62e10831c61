/* SPDX-License-Identifier: MIT */
/* Which type a message names, and what its body is converted to. */
#include "support/orders.h"
#include "support/test_support.h"

#include "base/base.h"

#include <coney/amqp/content.h>

static const coney_type strings_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRING);
static const coney_type *const all_types[] = {&customer_type, &order_type, &orders_type, &orders_by_name_type,
                                              &strings_type};
static const coney_types types = {all_types, sizeof all_types / sizeof *all_types};

static coney_message *message_of(const char *body, const char *content_type, const char *id, const char *content,
                                 const char *key)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    if (id)
        assert_ok(coney_table_set_string(headers, CONEY_HEADER_TYPE_ID, id));
    if (content)
        assert_ok(coney_table_set_string(headers, CONEY_HEADER_CONTENT_TYPE_ID, content));
    if (key)
        assert_ok(coney_table_set_string(headers, CONEY_HEADER_KEY_TYPE_ID, key));
    const coney_properties properties = {.content_type = content_type, .headers = headers};
    assert_ok(coney_message_new(&message, body, strlen(body), &properties));
    coney_table_free(headers);
    return message;
}

static void test_a_message_names_its_type(void **state)
{
    (void)state;
    static const struct {
        const char *id, *content, *key;
        const coney_type *type;
    } all[] = {
        {"shop.Order", NULL, NULL, &order_type},
        {"shop.Customer", NULL, NULL, &customer_type},
        {"java.util.ArrayList", "shop.Order", NULL, &orders_type},
        {"java.util.ImmutableCollections$ListN", "shop.Order", NULL, &orders_type},
        {"[Lshop.Order;", NULL, NULL, &orders_type},
        {"java.util.LinkedList", "java.lang.String", NULL, &strings_type},
        {"java.util.HashMap", "shop.Order", "java.lang.String", &orders_by_name_type},
        {NULL, NULL, NULL, NULL},
        {"", NULL, NULL, NULL},
        {"Hashtable", NULL, NULL, NULL},
        {"java.util.LinkedHashMap", NULL, NULL, NULL},
        {"java.util.ArrayList", "java.lang.Object", NULL, NULL}, /* convertAndSend() knows no class of elements */
        {"java.util.ImmutableCollections$ListN", "java.lang.Object", NULL, NULL},
        {"java.util.LinkedHashMap", "java.lang.Object", "java.lang.Object", NULL},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const coney_type *found;
        coney_message *message = message_of("", NULL, all[i].id, all[i].content, all[i].key);
        assert_ok(coney_types_find(&types, message, &found));
        assert_ptr_equal(found, all[i].type);
        coney_message_unref(message);
    }
}

static void test_an_unknown_type_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *id, *content;
    } all[] = {{"shop.Invoice", NULL},
               {"java.util.ArrayList", "shop.Invoice"},
               {"java.util.ArrayList", NULL},
               {"[Lshop.Invoice;", NULL},
               {"shop.Order", "java.lang.Object"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const coney_type *found;
        coney_content *content;
        coney_message *message = message_of("{}", "application/json", all[i].id, all[i].content, NULL);
        assert_fails(coney_types_find(&types, message, &found), CONEY_E_CONVERSION, all[i].id);
        assert_non_null(strstr(coney_last_error(), "the types here are: 'shop.Customer', 'shop.Order'"));
        assert_fails(coney_message_content(&content, message, &types), CONEY_E_CONVERSION, all[i].id);
        assert_null(content);
        coney_message_unref(message);
    }
}

static coney_content *content_of(const char *body, const char *content_type, const char *id, const coney_types *of)
{
    coney_content *content;
    coney_message *message = message_of(body, content_type, id, NULL, NULL);
    assert_ok(coney_message_content(&content, message, of));
    coney_message_unref(message);
    return content;
}

static void test_content_type_chooses_text_json_or_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *content_type;
        coney_content_kind kind;
    } all[] = {{"text/plain", CONEY_CONTENT_TEXT},
               {"text/html; charset=UTF-8", CONEY_CONTENT_TEXT},
               {"application/json", CONEY_CONTENT_JSON},
               {"application/problem+json", CONEY_CONTENT_JSON},
               {"text/x-json", CONEY_CONTENT_JSON},
               {"application/octet-stream", CONEY_CONTENT_BYTES},
               {"image/png", CONEY_CONTENT_BYTES},
               {"application/x-java-serialized-object", CONEY_CONTENT_BYTES},
               {NULL, CONEY_CONTENT_BYTES}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        coney_content *content = content_of("[1]", all[i].content_type, "shop.Order", NULL);
        assert_int_equal(content->kind, all[i].kind);
        if (content->kind == CONEY_CONTENT_TEXT)
            assert_string_equal(content->text, "[1]");
        else if (content->kind == CONEY_CONTENT_JSON)
            assert_int_equal(json_array_size(content->json), 1);
        else
            assert_memory_equal(content->bytes.data, "[1]", 4);
        coney_content_free(content);
    }
}

static void test_a_named_type_makes_an_object(void **state)
{
    (void)state;
    coney_content *content = content_of("{\"name\":\"Ann\"}", NULL, "shop.Customer", &types);
    assert_int_equal(content->kind, CONEY_CONTENT_OBJECT);
    assert_ptr_equal(content->type, &customer_type);
    assert_string_equal(((const customer *)content->object)->name, "Ann");
    coney_content_free(content);
}

static void test_no_memory_is_told_and_nothing_leaks(void **state)
{
    (void)state;
    coney_message *message = message_of("{\"name\":\"Ann\"}", NULL, "shop.Customer", NULL, NULL);
    for (int successes = 0;; successes++) {
        coney_content *content;
        cny_alloc_fail_after(successes);
        coney_status status = coney_message_content(&content, message, &types);
        cny_alloc_fail_after(-1);
        coney_content_free(content);
        if (status == CONEY_OK)
            break;
        assert_int_equal(status, CONEY_E_NO_MEMORY);
    }
    coney_message_unref(message);
}

static void test_types_that_are_not_there_are_told(void **state)
{
    (void)state;
    static const coney_type *const with_none[] = {&customer_type, NULL};
    const coney_types none = {with_none, 2}, no_list = {NULL, 1};
    const coney_type *type;
    coney_message *message = message_of("{}", NULL, "shop.Order", NULL, NULL);
    assert_fails(coney_types_find(&none, message, &type), CONEY_E_INVALID,
                 "types.types[1] is NULL, and types.count is 2");
    assert_fails(coney_types_find(&no_list, message, &type), CONEY_E_INVALID, "types.types[0] is NULL");
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types_that_are_not_there_are_told),
        cmocka_unit_test(test_a_message_names_its_type),
        cmocka_unit_test(test_an_unknown_type_is_refused_by_name),
        cmocka_unit_test(test_content_type_chooses_text_json_or_bytes),
        cmocka_unit_test(test_a_named_type_makes_an_object),
        cmocka_unit_test(test_no_memory_is_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
