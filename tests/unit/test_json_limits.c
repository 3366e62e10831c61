/* SPDX-License-Identifier: MIT */
/* JSON that would take far more memory or stack than its sender spent: it is counted before it is read. */
#include "support/test_support.h"

#include <coney/amqp/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB ((size_t)1 << 20)

static coney_message *message_of(const char *body, size_t size)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, body, size, &(coney_properties){.content_type = "application/json"}));
    return message;
}

/* An array of that unit again and again, about that many bytes long. */
static coney_message *repeated(const char *unit, size_t size)
{
    size_t length = strlen(unit), count = size / (length + 1), at = 0;
    char *body = malloc(count * (length + 1) + 2);
    assert_non_null(body);
    body[at++] = '[';
    for (size_t i = 0; i < count; i++) {
        memcpy(body + at, unit, length + 1);
        at += length;
        body[at++] = i + 1 < count ? ',' : ']';
    }
    coney_message *message = message_of(body, at);
    free(body);
    return message;
}

/* Objects and arrays in turn, that many in each other. */
static coney_message *nested(size_t depth)
{
    char *body = malloc(6 * depth + 2);
    size_t at = 0;
    assert_non_null(body);
    for (size_t i = 0; i < depth; i++)
        at += (size_t)sprintf(body + at, i % 2 ? "{\"\":" : "[");
    body[at++] = '1';
    for (size_t i = depth; i-- > 0;)
        body[at++] = i % 2 ? '}' : ']';
    coney_message *message = message_of(body, at);
    free(body);
    return message;
}

static coney_status read_all(coney_message *message, const coney_json_limits *limits)
{
    json_t *json = NULL;
    coney_status status = coney_message_json_within(&json, message, limits);
    json_decref(json);
    return status;
}

/* ---- what it costs ---- */

static atomic_size_t allocated;

static void *count_allocation(size_t size)
{
    atomic_fetch_add(&allocated, size);
    return malloc(size);
}

static int start_counting(void **state)
{
    (void)state;
    atomic_store(&allocated, 0);
    json_set_alloc_funcs(count_allocation, free);
    return 0;
}

static int stop_counting(void **state)
{
    (void)state;
    json_set_alloc_funcs(malloc, free);
    return coney_json_set_limits(NULL) == CONEY_OK ? 0 : -1;
}

static void test_hostile_document_is_refused_before_it_takes_memory(void **state)
{
    (void)state;
    static const char *const units[] = {"[]", "{}", "1", "\"\"", "{\"\":[]}", "[[[]]]"};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        coney_message *message = repeated(units[i], 9 * MIB);
        json_t *json = NULL;
        assert_fails(coney_message_json(&json, message), CONEY_E_CONVERSION, "2000000");
        assert_non_null(strstr(coney_last_error(), "max_values"));
        assert_null(json);
        coney_message_unref(message);
    }
    assert_int_equal(atomic_load(&allocated), 0);
}

static void test_error_names_what_was_found(void **state)
{
    (void)state;
    coney_message *message = repeated("[]", 9 * MIB);
    assert_fails(read_all(message, NULL), CONEY_E_CONVERSION, "holds 3145729 values");
    coney_message_unref(message);
    message = nested(2047);
    assert_fails(read_all(message, NULL), CONEY_E_CONVERSION, "2047 levels");
    assert_non_null(strstr(coney_last_error(), "256"));
    assert_non_null(strstr(coney_last_error(), "max_depth"));
    coney_message_unref(message);
}

/* The beginning is valid, so jansson would build it before it finds the error; the rest tries to take back what was
 * counted. */
static void test_hostile_document_that_is_not_json_takes_no_memory_either(void **state)
{
    (void)state;
    enum { VALID = 30001, ROOM = 60000 };
    static const char *const tails[] = {"", ":", "\"\":", "\"\" \n:", "\"\"::::", "]}", "\"\\"};
    for (size_t i = 0; i < COUNT_OF(tails); i++) {
        coney_message *valid = repeated("{}", VALID - 1), *message;
        char body[ROOM + 8] = "";
        memcpy(body, coney_message_body(valid), VALID);
        size_t length = strlen(tails[i]), at = VALID;
        for (; length > 0 && at + length < ROOM; at += length)
            memcpy(body + at, tails[i], length + 1);
        message = message_of(body, at);
        assert_fails(read_all(message, &(coney_json_limits){.max_values = 10000}), CONEY_E_CONVERSION,
                     "and max_values of coney_json_limits allows 10000");
        coney_message_unref(valid);
        coney_message_unref(message);
    }
    assert_int_equal(atomic_load(&allocated), 0);
}

static void test_ten_mebibytes_of_ordinary_json_pass(void **state)
{
    (void)state;
    static const char *const units[] = {
        "{\"id\":12345,\"name\":\"abc\",\"ok\":true}",
        "{\"order\":\"4711\",\"lines\":[{\"article\":\"a-1\",\"count\":2}],\"note\":null}",
        "[48.137154,11.576124]",
        "123456",
    };
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        coney_message *message = repeated(units[i], 10 * MIB);
        assert_ok(read_all(message, NULL));
        coney_message_unref(message);
    }
}

/* ---- counting ---- */

static void test_values_are_counted_exactly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t values;
    } documents[] = {
        {"null", 1},
        {" \"text\" ", 1},
        {"[]", 1},
        {"-1.5e+10", 1},
        {"{\"a\" : 1 , \"b\"\n:\t\"x\"}", 3},
        {"[1,2, 3 ,true,false,null]", 7},
        {"[\"a:b\",\"[]{},\",\"\\\"\",\"\\\\\"]", 5},
        {"{\"k:\\\"[{\":[{},[],\"v\"],\"\":{\"\":{\"\":\"\"}}}", 8},
        {"[[1],[1],\"\"]", 6},
    };
    for (size_t i = 0; i < COUNT_OF(documents); i++) {
        size_t values = documents[i].values;
        coney_message *message = message_of(documents[i].text, strlen(documents[i].text));
        assert_ok(read_all(message, &(coney_json_limits){.max_values = values}));
        if (values > 1)
            assert_fails(read_all(message, &(coney_json_limits){.max_values = values - 1}), CONEY_E_CONVERSION,
                         "max_values");
        coney_message_unref(message);
    }
}

static void test_depth_is_counted_exactly(void **state)
{
    (void)state;
    static const size_t depths[] = {1, 2, 100, 2047};
    for (size_t i = 0; i < COUNT_OF(depths); i++) {
        coney_message *message = nested(depths[i]);
        assert_ok(read_all(message, &(coney_json_limits){.max_depth = depths[i]}));
        if (depths[i] > 1)
            assert_fails(read_all(message, &(coney_json_limits){.max_depth = depths[i] - 1}), CONEY_E_CONVERSION,
                         "max_depth");
        coney_message_unref(message);
    }
}

static void test_depth_by_default_is_256(void **state)
{
    (void)state;
    coney_message *message = nested(256), *deeper = nested(257);
    assert_ok(read_all(message, NULL));
    assert_fails(read_all(deeper, NULL), CONEY_E_CONVERSION, "257 levels");
    assert_non_null(strstr(coney_last_error(), "(coney_json_set_limits)"));
    coney_message_unref(message);
    coney_message_unref(deeper);
}

static void test_brackets_in_texts_and_side_by_side_are_not_deep(void **state)
{
    (void)state;
    static const char text[] = "[\"[[[[\",\"{{{{\",\"\\\"[[[\",[],[],{},[]]";
    coney_message *message = message_of(text, strlen(text));
    assert_ok(read_all(message, &(coney_json_limits){.max_depth = 2}));
    coney_message_unref(message);
}

/* ---- setting ---- */

static void test_limits_of_the_process_hold_for_the_converter(void **state)
{
    (void)state;
    coney_message *message = message_of("[[1]]", 5);
    void *object;
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_values = 2}));
    assert_fails(coney_json_converter()->from_message(&object, message), CONEY_E_CONVERSION, "holds 3 values");
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_depth = 1}));
    assert_fails(coney_json_converter()->from_message(&object, message), CONEY_E_CONVERSION, "2 levels");
    assert_ok(coney_json_set_limits(NULL));
    assert_ok(coney_json_converter()->from_message(&object, message));
    coney_json_converter()->free_object(object);
    coney_message_unref(message);
}

static void test_limits_of_the_process_do_not_bind_a_reader_with_its_own(void **state)
{
    (void)state;
    coney_message *message = message_of("[[1]]", 5);
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_values = 2, .max_depth = 1}));
    assert_ok(read_all(message, &(coney_json_limits){.max_values = 3, .max_depth = 2}));
    assert_ok(read_all(message, &(coney_json_limits){0}));
    coney_message_unref(message);
}

static void test_depth_beyond_jansson_is_refused(void **state)
{
    (void)state;
    coney_message *message = message_of("1", 1);
    const coney_json_limits limits = {.max_depth = 2048};
    assert_fails(coney_json_set_limits(&limits), CONEY_E_INVALID, "coney_json_set_limits: max_depth is 2048");
    assert_fails(read_all(message, &limits), CONEY_E_INVALID, "2047");
    coney_message_unref(message);
}

/* ---- stacks ---- */

static void *read_and_write(void *user)
{
    coney_message *message = user, *back = NULL;
    json_t *json = NULL;
    if (coney_message_json(&json, message) == CONEY_OK)
        coney_message_new_json(&back, json, NULL);
    json_decref(json);
    coney_message_unref(message);
    return back;
}

static void test_deepest_document_by_default_fits_threads_of_musl(void **state)
{
    (void)state;
    pthread_attr_t attributes;
    pthread_t thread;
    void *back;
    pthread_attr_init(&attributes);
#ifndef __SANITIZE_ADDRESS__ /* whose frames are larger */
    assert_int_equal(pthread_attr_setstacksize(&attributes, MIB / 8), 0);
#endif
    assert_int_equal(pthread_create(&thread, &attributes, read_and_write, nested(256)), 0);
    pthread_join(thread, &back);
    pthread_attr_destroy(&attributes);
    assert_non_null(back);
    coney_message_unref(back);
}

#define limits_test(function) cmocka_unit_test_setup_teardown(function, start_counting, stop_counting)

int main(void)
{
    const struct CMUnitTest tests[] = {
        limits_test(test_hostile_document_is_refused_before_it_takes_memory),
        limits_test(test_error_names_what_was_found),
        limits_test(test_hostile_document_that_is_not_json_takes_no_memory_either),
        limits_test(test_ten_mebibytes_of_ordinary_json_pass),
        limits_test(test_values_are_counted_exactly),
        limits_test(test_depth_is_counted_exactly),
        limits_test(test_depth_by_default_is_256),
        limits_test(test_brackets_in_texts_and_side_by_side_are_not_deep),
        limits_test(test_limits_of_the_process_hold_for_the_converter),
        limits_test(test_limits_of_the_process_do_not_bind_a_reader_with_its_own),
        limits_test(test_depth_beyond_jansson_is_refused),
        limits_test(test_deepest_document_by_default_fits_threads_of_musl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
