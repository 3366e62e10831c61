/* SPDX-License-Identifier: MIT */
/* Error replies: Coney's own, those of Spring in JSON and in bytes of Java, and bodies that nobody should send. */
#include "java_errors.h"
#include "support/test_support.h"

#include "base/base.h"

#define AMQP_RESULT "org.springframework.amqp.support.converter.RemoteInvocationResult"
#define REMOTING_RESULT "org.springframework.remoting.support.RemoteInvocationResult"
#define JAVA "application/x-java-serialized-object"

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

static void test_body_may_lack_anything(void **state)
{
    (void)state;
    expect_error(own_of("{}"), "ERROR", "", false);
    expect_error(own_of("{\"code\":\"A\",\"more\":[1]}"), "A", "", false);
    expect_error(own_of(""), "ERROR", "the error reply cannot be read", false);
    expect_error(own_of("[]"), "ERROR", "the error reply cannot be read", false);
    expect_error(own_of("{\"code\":5}"), "ERROR", "the error reply cannot be read", false);
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
    const char *json = "{\"value\":null,\"exception\":{\"cause\":null,\"stackTrace\":[{\"lineNumber\":19}],"
                       "\"message\":\"no stock\",\"suppressed\":[],\"localizedMessage\":\"no stock\"}}";
    expect_error(json_of(json, AMQP_RESULT), "java.lang.Throwable", "no stock", false);
    expect_error(json_of(json, REMOTING_RESULT), "java.lang.Throwable", "no stock", false);
    expect_error(json_of("{\"exception\":{\"message\":null}}", AMQP_RESULT), "java.lang.Throwable", "", false);
    expect_error(json_of("{\"exception\":7}", AMQP_RESULT), "java.lang.Throwable",
                 "the RemoteInvocationResult cannot be read", false);
    expect_none(json_of("{\"value\":5,\"exception\":null}", AMQP_RESULT));
    expect_none(json_of("{\"value\":5}", AMQP_RESULT));
    expect_none(json_of(json, "shop.Order"));
}

static void test_bytes_of_java_tell_class_and_message(void **state)
{
    (void)state;
    expect_error(message_of(java_plain, sizeof java_plain, JAVA, NULL, NULL), "java.lang.IllegalStateException",
                 "no stock", false);
    expect_error(message_of(java_null, sizeof java_null, JAVA, NULL, NULL), "java.lang.NullPointerException", "",
                 false);
    expect_error(message_of(java_custom, sizeof java_custom, JAVA, NULL, NULL), "Gen$OutOfStock", "only 3 left", false);
    expect_error(message_of(java_cause, sizeof java_cause, JAVA, NULL, NULL), "Gen$OutOfStock", "inner", false);
    expect_none(message_of(java_value, sizeof java_value, JAVA, NULL, NULL));
    expect_none(message_of(java_plain, sizeof java_plain, "application/octet-stream", NULL, NULL));
}

/* A body that ends anywhere, or has one wrong byte, is read without harm (under AddressSanitizer). */
static void test_damaged_bytes_of_java_do_no_harm(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof java_cause; i++) {
        coney_remote_error *error;
        coney_message *message = message_of(java_cause, i, JAVA, NULL, NULL);
        assert_ok(coney_message_error(&error, message));
        coney_remote_error_free(error);
        coney_message_unref(message);
        uint8_t changed[sizeof java_cause];
        memcpy(changed, java_cause, sizeof changed);
        changed[i] ^= 0xff;
        message = message_of(changed, sizeof changed, JAVA, NULL, NULL);
        assert_ok(coney_message_error(&error, message));
        coney_remote_error_free(error);
        coney_message_unref(message);
    }
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
        cmocka_unit_test(test_body_may_lack_anything),
        cmocka_unit_test(test_header_that_is_not_true_is_none),
        cmocka_unit_test(test_spring_result_in_json_is_an_error_if_its_exception_is_set),
        cmocka_unit_test(test_bytes_of_java_tell_class_and_message),
        cmocka_unit_test(test_damaged_bytes_of_java_do_no_harm),
        cmocka_unit_test(test_lack_of_memory_is_told),
        cmocka_unit_test(test_remote_error_has_details),
    };
    return cmocka_run_group_tests_name("remote_error", tests, NULL, NULL);
}
