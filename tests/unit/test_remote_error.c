/* SPDX-License-Identifier: MIT */
/* Error replies: Coney's own, those of Spring in JSON and in bytes of Java, and bodies that nobody should send. */
#include "support/test_support.h"

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

#define AMQP_RESULT "org.springframework.amqp.support.converter.RemoteInvocationResult"
#define REMOTING_RESULT "org.springframework.remoting.support.RemoteInvocationResult"
#define JAVA "application/x-java-serialized-object"
#define UNKNOWN "java.lang.Throwable"

static coney_message *message_of(const void *body, size_t size, const char *content_type, const char *header,
                                 const coney_value *value)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    if (header)
        assert_ok(coney_table_set(headers, header, value));
    assert_ok(
        coney_message_new(&message, body, size, &(coney_properties){.content_type = content_type, .headers = headers}));
    coney_table_free(headers);
    return message;
}

static coney_message *json_of(const char *json, const char *type_id)
{
    const coney_value value = coney_value_string(type_id);
    return message_of(json, strlen(json), "application/json", CONEY_HEADER_TYPE_ID, &value);
}

static coney_message *own_of(const char *json)
{
    const coney_value yes = {.type = CONEY_BOOL, .as.boolean = true};
    return message_of(json, strlen(json), "application/json", CONEY_HEADER_ERROR, &yes);
}

/* Takes the message. */
static void expect_error(coney_message *message, const char *code, const char *text, bool retriable)
{
    coney_remote_error *error;
    assert_true(coney_message_is_error(message));
    assert_ok(coney_message_error(&error, message));
    assert_string_equal(error->code, code);
    assert_string_equal(error->message, text);
    assert_int_equal(error->retriable, retriable);
    coney_remote_error_free(error);
    coney_message_unref(message);
}

static void expect_none(coney_message *message)
{
    coney_remote_error *error;
    assert_false(coney_message_is_error(message));
    assert_ok(coney_message_error(&error, message));
    assert_null(error);
    coney_message_unref(message);
}

/* ---- bytes of Java: Java 17 has written these RemoteInvocationResults of Spring AMQP 3.2 and Spring 5.3 ---- */

typedef struct java_bytes {
    uint8_t *data;
    size_t size;
} java_bytes;

static java_bytes java_of(const char *name)
{
    char path[500];
    snprintf(path, sizeof path, "%s/java-%s", CONEY_TEST_SEEDS, name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    java_bytes bytes = {.data = malloc(20000)};
    bytes.size = fread(bytes.data, 1, 20000, file);
    fclose(file);
    assert_true(bytes.size > 0 && bytes.size < 20000);
    return bytes;
}

/* The message has a copy of exactly these bytes, so that AddressSanitizer sees a look beyond them. */
static coney_message *java_message(const char *name)
{
    java_bytes bytes = java_of(name);
    coney_message *message = message_of(bytes.data, bytes.size, JAVA, NULL, NULL);
    free(bytes.data);
    return message;
}

static void expect_java(const char *name, const char *class, const char *text)
{
    expect_error(java_message(name), class, text, false);
}

/* ---- Coney's own ---- */

static void test_own_error_comes_back(void **state)
{
    (void)state;
    coney_message *made;
    assert_ok(coney_message_new_error(
        &made, &(coney_remote_error){.code = "OUT_OF_STOCK", .message = "only \"3\" are left", .retriable = true}));
    assert_string_equal(coney_message_properties(made)->content_type, "application/json");
    expect_error(made, "OUT_OF_STOCK", "only \"3\" are left", true);
    assert_ok(coney_message_new_error(&made, &(coney_remote_error){0}));
    expect_error(made, "ERROR", "", false);
}

static void test_members_may_be_missing_or_of_another_type(void **state)
{
    (void)state;
    expect_error(own_of("{}"), "ERROR", "", false);
    expect_error(own_of("{\"code\":\"A\",\"more\":[1,{\"code\":\"B\"}]}"), "A", "", false);
    expect_error(own_of("{\"code\":5,\"message\":\"m\",\"retriable\":true}"), "ERROR", "m", true);
    expect_error(own_of("{\"code\":\"A\",\"message\":{\"text\":1},\"retriable\":\"yes\"}"), "A", "", false);
    expect_error(own_of("{\"code\":\"\",\"message\":null,\"retriable\":null}"), "ERROR", "", false);
}

static void test_unreadable_body_is_an_error_all_the_same(void **state)
{
    (void)state;
    const char *cannot = "the error reply cannot be read: invalid JSON at line 1, column ";
    const char *const bodies[] = {"", "[]", "boom", "{\"code\":", "{\"code\":\"A\",\"message\":\"m"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        coney_remote_error *error;
        coney_message *message = own_of(bodies[i]);
        assert_true(coney_message_is_error(message));
        assert_ok(coney_message_error(&error, message));
        assert_string_equal(error->code, i == 4 ? "A" : "ERROR");
        assert_memory_equal(error->message, cannot, strlen(cannot));
        coney_remote_error_free(error);
        coney_message_unref(message);
    }
    expect_error(own_of("{\"code\":\"\xff\"}"), "ERROR",
                 "the error reply cannot be read: byte 9 of the body is not UTF-8", false);
    expect_error(own_of("{\"code\":\"A\",\"message\":\"m\"} x"), "A", "m", false);
}

static void test_texts_are_cut_and_have_no_control_characters(void **state)
{
    (void)state;
    static char json[20000];
    expect_error(own_of("{\"code\":\"A\\nB\",\"message\":\"\\u0000\\u001b[1m \\ud83d\\ude00\"}"), "A?B",
                 "??[1m \xf0\x9f\x98\x80", false);
    char *at = json + sprintf(json, "{\"code\":\"C");
    for (int i = 0; i < 200; i++)
        at += sprintf(at, "\xc3\xa4");
    at += sprintf(at, "\",\"message\":\"");
    memset(at, 'm', 10000);
    memcpy(at + 10000, "\"}", 3);
    coney_remote_error *error;
    coney_message *message = own_of(json);
    assert_ok(coney_message_error(&error, message));
    assert_int_equal(strlen(error->code), 255);
    assert_memory_equal(error->code + 253, "\xc3\xa4", 3);
    assert_int_equal(strlen(error->message), 4096);
    coney_remote_error_free(error);
    coney_message_unref(message);
}

static void test_header_that_is_not_true_is_none(void **state)
{
    (void)state;
    const coney_value no = {.type = CONEY_BOOL}, text = coney_value_string("true"), number = coney_value_int64(1);
    expect_none(message_of("{}", 2, "application/json", CONEY_HEADER_ERROR, &no));
    expect_none(message_of("{}", 2, "application/json", CONEY_HEADER_ERROR, &text));
    expect_none(message_of("{}", 2, "application/json", CONEY_HEADER_ERROR, &number));
    expect_none(message_of("{}", 2, "application/json", NULL, NULL));
}

static void test_spring_result_in_json_is_an_error_if_its_exception_is_set(void **state)
{
    (void)state;
    const char *json =
        "{\"value\":null,\"exception\":{\"cause\":{\"message\":\"inner\"},\"stackTrace\":[{\"lineNumber\":"
        "19}],\"message\":\"no stock\",\"suppressed\":[],\"localizedMessage\":\"no stock\"}}";
    expect_error(json_of(json, AMQP_RESULT), UNKNOWN, "no stock", false);
    expect_error(json_of(json, REMOTING_RESULT), UNKNOWN, "no stock", false);
    expect_error(json_of("{\"exception\":{\"message\":null}}", AMQP_RESULT), UNKNOWN, "", false);
    expect_error(json_of("{\"exception\":{\"@class\":\"shop.Empty\",\"message\":\"m\"}}", AMQP_RESULT), "shop.Empty",
                 "m", false);
    expect_error(json_of("{\"exception\":7}", AMQP_RESULT), UNKNOWN, "", false);
    expect_error(json_of("{\"exception\":{\"message\":\"m\"", AMQP_RESULT), UNKNOWN, "m", false);
    expect_none(json_of("{\"value\":{\"exception\":{}},\"exception\":null}", AMQP_RESULT));
    expect_none(json_of("{\"value\":5}", AMQP_RESULT));
}

/* Spring writes the return type of the method that has failed. */
static void test_spring_result_is_an_error_whatever_its_type_id_is(void **state)
{
    (void)state;
    const char *json = "{\"value\":null,\"exception\":{\"cause\":null,\"stackTrace\":[],\"message\":\"m\"}}";
    expect_error(json_of(json, "shop.Order"), UNKNOWN, "m", false);
    expect_error(json_of("{\"exception\":{\"message\":\"m\",\"stackTrace\":[]},\"value\":null}", "shop.Order"), UNKNOWN,
                 "m", false);
    expect_none(json_of("{\"value\":null,\"exception\":{\"message\":\"m\"}}", "shop.Order"));
    expect_none(json_of("{\"value\":null,\"exception\":{\"stackTrace\":[]},\"more\":1}", "shop.Order"));
    expect_none(json_of("{\"exception\":{\"stackTrace\":[]},\"value\":3}", "shop.Order"));
    expect_none(json_of("{\"exception\":{\"stackTrace\":[]", "shop.Order"));
}

static void test_bytes_of_java_tell_class_and_message(void **state)
{
    (void)state;
    expect_java("plain", "java.lang.IllegalStateException", "no stock");
    expect_java("remoting-plain", "java.lang.IllegalStateException", "no stock");
    expect_java("null-message", "java.lang.NullPointerException", "");
    expect_java("custom", "Gen$OutOfStock", "only 3 left");
    expect_java("expired", "Gen$ExpiredException", "too late");
    expect_java("text", "java.lang.IllegalStateException",
                "gr\xc3\xbc\xc3\x9f"
                "e \xf0\x9f\x98\x80 nul?? line?end");
}

static void test_exception_of_java_is_told_and_not_its_cause(void **state)
{
    (void)state;
    expect_java("cause", "Gen$OutOfStock", "cannot reserve");
    expect_java("cause-of-cause", "java.lang.IllegalStateException", "outer");
    expect_java("cause-same-class", "Gen$ExpiredException", "outer");
    expect_java("cause-proxy", "java.lang.IllegalStateException", "outer");
    expect_java("cause-externalizable", "java.lang.IllegalStateException", "outer");
    expect_java("cause-suppressed", "java.lang.IllegalStateException", "outer");
    expect_java("deep", "java.lang.IllegalStateException", "level 39");
    expect_java("wrapped", "java.lang.RuntimeException", "Gen$OutOfStock: only 3 left");
    expect_java("sql", "java.sql.BatchUpdateException", "batch");
}

static void test_wrapper_of_a_listener_gives_way_to_what_was_thrown(void **state)
{
    (void)state;
    expect_java("listener", "Gen$OutOfStock", "only 3 left");
}

static void test_cause_is_told_if_java_can_be_read_no_further(void **state)
{
    (void)state;
    java_bytes bytes = java_of("cause");
    const uint8_t *found = memmem(bytes.data, bytes.size, "inner", 5);
    assert_non_null(found);
    expect_error(message_of(bytes.data, (size_t)(found - bytes.data) + 5, JAVA, NULL, NULL), "Gen$OutOfStock",
                 "Gen$ExpiredException: inner", false);
    free(bytes.data);
}

static void test_value_of_java_is_no_error(void **state)
{
    (void)state;
    expect_none(java_message("value"));
    expect_none(java_message("value-null"));
    expect_none(java_message("value-exception"));
    java_bytes bytes = java_of("plain");
    expect_none(message_of(bytes.data, bytes.size, "application/octet-stream", NULL, NULL));
    free(bytes.data);
}

static void read_damaged(const uint8_t *data, size_t size)
{
    coney_remote_error *error;
    coney_message *message = message_of(data, size, JAVA, NULL, NULL);
    assert_ok(coney_message_error(&error, message));
    coney_remote_error_free(error);
    coney_message_unref(message);
}

/* A body that ends anywhere, or has one wrong byte, is read without harm (under AddressSanitizer). */
static void test_damaged_bytes_of_java_do_no_harm(void **state)
{
    (void)state;
    java_bytes bytes = java_of("cause-proxy");
    for (size_t i = 0; i < bytes.size; i++) {
        read_damaged(bytes.data, i);
        bytes.data[i] ^= 0xff;
        read_damaged(bytes.data, bytes.size);
        bytes.data[i] ^= 0xff;
    }
    free(bytes.data);
}

static void test_lack_of_memory_is_told(void **state)
{
    (void)state;
    coney_message *message = own_of("{\"code\":\"A\",\"message\":\"b\"}"), *made;
    for (int i = 0; i < 20; i++) {
        coney_remote_error *error = NULL;
        cny_alloc_fail_after(i);
        coney_status read = coney_message_error(&error, message);
        cny_alloc_fail_after(i);
        coney_status wrote = coney_message_new_error(&made, &(coney_remote_error){.code = "A"});
        cny_alloc_fail_after(-1);
        assert_true(read == CONEY_OK || read == CONEY_E_NO_MEMORY);
        assert_true((read == CONEY_OK) == (error != NULL));
        assert_true(wrote == CONEY_OK || wrote == CONEY_E_NO_MEMORY);
        coney_remote_error_free(error);
        coney_message_unref(made);
    }
    coney_message_unref(message);
}

static void test_remote_error_has_details(void **state)
{
    (void)state;
    assert_int_equal(cny_fail_remote("CODE\n", "text", true), CONEY_E_REMOTE_ERROR);
    cny_fail_in("request");
    cny_error *kept = cny_error_capture();
    cny_fail(CONEY_E_INVALID, "something else");
    assert_null(coney_last_error_details()->remote_code);
    cny_error_raise(kept);
    cny_error_unref(kept);
    const coney_error *error = coney_last_error_details();
    assert_string_equal(error->text, "request: the other side answered: CODE?: text");
    assert_string_equal(error->remote_code, "CODE?");
    assert_string_equal(error->remote_message, "text");
    assert_true(error->retriable);
    assert_false(error->fatal);
    cny_fail_remote("CODE", "", false);
    assert_false(coney_last_error_details()->retriable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_error_comes_back),
        cmocka_unit_test(test_members_may_be_missing_or_of_another_type),
        cmocka_unit_test(test_unreadable_body_is_an_error_all_the_same),
        cmocka_unit_test(test_texts_are_cut_and_have_no_control_characters),
        cmocka_unit_test(test_header_that_is_not_true_is_none),
        cmocka_unit_test(test_spring_result_in_json_is_an_error_if_its_exception_is_set),
        cmocka_unit_test(test_spring_result_is_an_error_whatever_its_type_id_is),
        cmocka_unit_test(test_bytes_of_java_tell_class_and_message),
        cmocka_unit_test(test_exception_of_java_is_told_and_not_its_cause),
        cmocka_unit_test(test_wrapper_of_a_listener_gives_way_to_what_was_thrown),
        cmocka_unit_test(test_cause_is_told_if_java_can_be_read_no_further),
        cmocka_unit_test(test_value_of_java_is_no_error),
        cmocka_unit_test(test_damaged_bytes_of_java_do_no_harm),
        cmocka_unit_test(test_lack_of_memory_is_told),
        cmocka_unit_test(test_remote_error_has_details),
    };
    return cmocka_run_group_tests_name("remote_error", tests, NULL, NULL);
}
