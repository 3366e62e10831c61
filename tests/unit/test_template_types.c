/* SPDX-License-Identifier: MIT */
/* Objects and types that a template is given, as far as no broker is needed: types that are wrong, and no memory for
 * the messages of objects. */
#include "support/orders.h"
#include "support/test_support.h"

#include "base/base.h"

static coney_connection_factory *factory;
static coney_template *sender;

static int setup(void **state)
{
    (void)state;
    assert_ok(coney_connection_factory_new(&factory, "amqp://127.0.0.1:1", NULL));
    assert_ok(coney_template_new(&sender, factory, NULL));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    return 0;
}

/* ---- types ---- */

static void expect_refused_types(const coney_type *const *types, size_t count, const char *words)
{
    coney_template *made = sender;
    const coney_template_options options = {.types = {types, count}};
    assert_fails(coney_template_new(&made, factory, &options), CONEY_E_INVALID, words);
    assert_null(made);
}

static void test_registry_that_is_wrong_is_refused(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(customer, name, CONEY_STRING)};
    static const coney_type nameless = CONEY_TYPE(NULL, customer, fields);
    static const coney_type same = CONEY_TYPE("shop.Customer", customer, fields);
    static const coney_type wrong = CONEY_TYPE("shop.Wrong", char, fields);
    expect_refused_types(NULL, 2, "types.count is 2");
    expect_refused_types((const coney_type *[]){&order_type, NULL}, 2, "types.types[1] is NULL");
    expect_refused_types((const coney_type *[]){&order_type, &nameless}, 2, "no id");
    expect_refused_types((const coney_type *[]){&order_type, &wrong}, 2, "shop.Wrong");
    expect_refused_types((const coney_type *[]){&customer_type, &same}, 2, "shop.Customer");
    expect_refused_types((const coney_type *[]){&orders_type, &orders_type}, 2, "shop.Order");
}

static void test_list_and_map_of_a_type_stand_beside_the_type(void **state)
{
    (void)state;
    static const coney_type *const types[] = {&order_type, &orders_type, &orders_by_name_type};
    coney_template *made;
    assert_ok(coney_template_new(&made, factory, &(coney_template_options){.types = {types, COUNT_OF(types)}}));
    coney_template_free(made);
}

/* ---- memory ---- */

typedef coney_status send_function(const coney_send_options *options);

static coney_status send_object(const coney_send_options *options)
{
    const customer robin = {.name = (char[]){"Robin"}};
    return coney_template_send_object(sender, "q", &customer_type, &robin, options);
}

static json_t *json;

static coney_status send_json(const coney_send_options *options)
{
    return coney_template_send_json(sender, "q", json, options);
}

static coney_status send_text(const coney_send_options *options)
{
    return coney_template_send_text(sender, "q", "carrots", options);
}

static coney_status send_bytes(const coney_send_options *options)
{
    return coney_template_send_bytes(sender, "q", "carrots", 7, options);
}

/* The send itself is refused, because of its options, so that the memory of its connection does not count. */
static int allocations_of(send_function *send)
{
    for (int successes = 0;; successes++) {
        cny_alloc_fail_after(successes);
        coney_status status = send(&(coney_send_options){.timeout_ms = -1});
        cny_alloc_fail_after(-1);
        if (status != CONEY_E_NO_MEMORY) {
            assert_int_equal(status, CONEY_E_INVALID);
            return successes;
        }
    }
}

static void test_no_memory_for_a_message_is_told_and_nothing_leaks(void **state)
{
    (void)state;
    json = json_pack("{s:i}", "id", 1);
    send_function *const sends[] = {send_object, send_json, send_text, send_bytes};
    for (size_t i = 0; i < COUNT_OF(sends); i++)
        assert_true(allocations_of(sends[i]) > 0);
    json_decref(json);
}

static void test_no_memory_for_a_template_with_types_is_told(void **state)
{
    (void)state;
    const coney_type *types[] = {&order_type, &orders_type};
    coney_status status;
    int successes = 0;
    do {
        coney_template *made;
        cny_alloc_fail_after(successes++);
        status = coney_template_new(&made, factory, &(coney_template_options){.types = {types, COUNT_OF(types)}});
        cny_alloc_fail_after(-1);
        coney_template_free(made);
    } while (status == CONEY_E_NO_MEMORY);
    assert_ok(status);
    assert_true(successes > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry_that_is_wrong_is_refused),
        cmocka_unit_test(test_list_and_map_of_a_type_stand_beside_the_type),
        cmocka_unit_test(test_no_memory_for_a_message_is_told_and_nothing_leaks),
        cmocka_unit_test(test_no_memory_for_a_template_with_types_is_told),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
