/* SPDX-License-Identifier: MIT */
/* JSON from anyone who may publish, read by a listener and by a template: what is too deep or holds too much is a
 * conversion error, and the worker that reads it has the stack for what is allowed. */
#include "support/listening.h"

#include <pthread.h>
#include <stdlib.h>

static char *nested(size_t depth)
{
    char *body = malloc(2 * depth + 1);
    assert_non_null(body);
    memset(body, '[', depth);
    memset(body + depth, ']', depth);
    body[2 * depth] = '\0';
    return body;
}

static char *many(size_t count)
{
    char *body = malloc(3 * count + 1);
    assert_non_null(body);
    for (size_t i = 0; i < 3 * count; i++)
        body[i] = "{},"[i % 3];
    body[0] = '[';
    body[1] = body[2] = ' ';
    body[3 * count - 1] = ']';
    body[3 * count] = '\0';
    return body;
}

static const coney_properties json_properties = {.content_type = "application/json", .message_id = "hostile"};

static void send_and_free(char *body)
{
    listening_send_with(body, &json_properties);
    free(body);
}

static void test_listener_rejects_json_that_holds_too_much(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_and_free(many(2000002));
    listening_wait_for_event(CONEY_MESSAGE_REJECTED, "max_values of coney_json_limits allows 2000000");
    test_wait_for_depth(listening.dead, 1);
}

static void test_listener_rejects_json_that_is_too_deep(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_and_free(nested(2047));
    listening_wait_for_event(CONEY_MESSAGE_REJECTED, "2047 levels deep, and max_depth of coney_json_limits allows 256");
    test_wait_for_depth(listening.dead, 1);
}

static void test_template_refuses_json_that_is_too_deep(void **state)
{
    (void)state;
    void *object = NULL;
    send_and_free(nested(257));
    assert_fails(coney_template_receive_and_convert(client.sender, listening.queue, &object, 5000), CONEY_E_CONVERSION,
                 "257 levels deep");
    assert_null(object);
}

static coney_outcome take(coney_delivery *delivery, void *user)
{
    (void)user;
    const json_t *json = coney_delivery_payload(delivery);
    check(json_is_array(json));
    listening_note(delivery);
    return CONEY_ACK;
}

/* Whatever jansson can read. The program's own threads have little stack, as they have with musl. */
static void test_worker_has_the_stack_for_the_deepest_json_where_threads_have_little(void **state)
{
    (void)state;
    pthread_attr_t before, little;
    pthread_getattr_default_np(&before);
    pthread_attr_init(&little);
    pthread_attr_setstacksize(&little, (size_t)128 * 1024);
    assert_int_equal(pthread_setattr_default_np(&little), 0);
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_depth = 2047}));
    listening_start(&(coney_listener){.converter = coney_json_converter(), .on_message = take});
    send_and_free(nested(2047));
    listening_wait_for_calls(1);
    pthread_setattr_default_np(&before);
    pthread_attr_destroy(&before);
    pthread_attr_destroy(&little);
    assert_ok(coney_json_set_limits(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_listener_rejects_json_that_holds_too_much),
        listening_test(test_listener_rejects_json_that_is_too_deep),
        listening_test(test_template_refuses_json_that_is_too_deep),
        listening_test(test_worker_has_the_stack_for_the_deepest_json_where_threads_have_little),
    };
    return test_run_with_workers("json limits", tests, test_client_setup, test_client_teardown);
}
