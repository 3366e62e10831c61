/* SPDX-License-Identifier: MIT */
/* What is made of a message for a handler, and what that costs. */
#include "support/orders.h"
#include "support/test_support.h"

#include "rabbit/listener/handling/payload.h"

static coney_message *new_message(const char *content_type)
{
    coney_message *message;
    const char *body = "{\"name\":\"Ann\",\"mail\":\"a@example.org\"}";
    assert_ok(coney_message_new(&message, body, strlen(body), &(coney_properties){.content_type = content_type}));
    return message;
}

/* Allocates this often, and never again. */
static void allow(int allocations)
{
    cny_alloc_fail_after(allocations);
}

static void test_payload_that_nobody_asks_for_takes_no_memory(void **state)
{
    (void)state;
    cny_payload payload = {0};
    coney_message *message = new_message("application/json");
    allow(0);
    assert_ok(cny_payload_make(&payload, message, NULL, NULL));
    assert_int_equal(cny_payload_bytes(&payload, coney_message_size(message)), 0);
    allow(-1);
    cny_payload_clear(&payload);
    coney_message_unref(message);
}

static void test_payload_that_was_asked_for_is_kept(void **state)
{
    (void)state;
    cny_payload payload = {0};
    const coney_content *content, *again;
    coney_message *message = new_message("text/plain");
    assert_ok(cny_payload_make(&payload, message, NULL, NULL));
    assert_ok(cny_payload_content(&content, &payload, message));
    allow(0);
    assert_ok(cny_payload_content(&again, &payload, message));
    allow(-1);
    assert_ptr_equal(content, again);
    cny_payload_clear(&payload);
    coney_message_unref(message);
}

static coney_status make_and_ask(const coney_converter *converter, const coney_type *type, coney_message *message)
{
    cny_payload payload = {0};
    const coney_content *content;
    coney_status status = cny_payload_make(&payload, message, converter, type);
    if (status == CONEY_OK)
        status = cny_payload_content(&content, &payload, message);
    cny_payload_clear(&payload);
    cny_payload_clear(&payload); /* it is empty */
    return status;
}

static void test_no_memory_is_told_and_nothing_leaks(void **state)
{
    (void)state;
    const struct {
        const coney_converter *converter;
        const coney_type *type;
        const char *content_type;
    } all[] = {{NULL, NULL, "text/plain"},
               {NULL, NULL, "application/octet-stream"},
               {NULL, NULL, "application/json"},
               {NULL, &customer_type, "application/json"},
               {coney_bytes_converter(), NULL, NULL},
               {coney_text_converter(), NULL, NULL}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        coney_message *message = new_message(all[i].content_type);
        int failures = 0;
        for (coney_status status = CONEY_E_NO_MEMORY; status != CONEY_OK; failures++) {
            allow(failures);
            status = make_and_ask(all[i].converter, all[i].type, message);
            allow(-1);
            assert_true(status == CONEY_OK || status == CONEY_E_NO_MEMORY);
        }
        assert_true(failures > 1);
        coney_message_unref(message);
    }
}

static void test_objects_count_the_memory_that_they_take(void **state)
{
    (void)state;
    static const struct {
        const coney_type *type;
        size_t least, most;
    } all[] = {{&customer_type, 64, 512}, {NULL, 1000, 2000}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        cny_payload payload = {0};
        coney_message *message = new_message("application/json");
        assert_ok(cny_payload_make(&payload, message, all[i].type ? NULL : coney_json_converter(), all[i].type));
        size_t bytes = cny_payload_bytes(&payload, coney_message_size(message));
        assert_true(bytes >= all[i].least && bytes <= all[i].most);
        cny_payload_clear(&payload);
        coney_message_unref(message);
    }
}

static void test_failure_leaves_the_payload_empty(void **state)
{
    (void)state;
    cny_payload payload = {0};
    const coney_content *content;
    coney_message *message = new_message("application/json");
    assert_fails(cny_payload_make(&payload, message, NULL, &order_type), CONEY_E_CONVERSION, "$.id");
    assert_null(payload.object);
    assert_fails(cny_payload_content(&content, &payload, message), CONEY_E_STATE, "it was not converted");
    assert_null(content);
    cny_payload_clear(&payload);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payload_that_nobody_asks_for_takes_no_memory),
        cmocka_unit_test(test_payload_that_was_asked_for_is_kept),
        cmocka_unit_test(test_no_memory_is_told_and_nothing_leaks),
        cmocka_unit_test(test_objects_count_the_memory_that_they_take),
        cmocka_unit_test(test_failure_leaves_the_payload_empty),
    };
    return cmocka_run_group_tests_name("payload", tests, NULL, NULL);
}
