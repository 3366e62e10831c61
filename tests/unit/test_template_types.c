/* SPDX-License-Identifier: MIT */
/* Objects that a template is given, as far as no broker is needed: there is no memory for their messages. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory_for_a_message_is_told_and_nothing_leaks),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
