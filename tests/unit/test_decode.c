/* SPDX-License-Identifier: MIT */
/* The decoder, fed with bytes as if a broker had sent them. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

enum { LIMIT = 10, FRAME_MAX = 4096 };

static cny_wire *wire;

static int start(void **state)
{
    (void)state;
    wire = cny_wire_new();
    wire->limits = (cny_wire_limits){.channel_max = 1, .frame_max = FRAME_MAX};
    wire->max_message_bytes = LIMIT;
    assert_ok(cny_wire_make_input(wire));
    return 0;
}

static int finish(void **state)
{
    (void)state;
    cny_wire_free(wire);
    return 0;
}

static const uint8_t deliver_method[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k'};
static const uint8_t return_method[] = {0, 60, 0, 50, 1, 56, 0, 1, 'e', 1, 'k'};

static void feed(uint8_t type, uint8_t channel, const void *payload, size_t size)
{
    uint8_t *at = wire->input + wire->input_end;
    const uint8_t header[] = {type, 0, channel, 0, 0, 0, (uint8_t)size};
    memcpy(at, header, sizeof header);
    memcpy(at + sizeof header, payload, size);
    at[sizeof header + size] = AMQP_FRAME_END;
    wire->input_end += size + CNY_FRAME_OVERHEAD;
}

static void feed_header(uint8_t size)
{
    const uint8_t header[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, size, 0, 0};
    feed(AMQP_FRAME_HEADER, 1, header, sizeof header);
}

static cny_incoming expect_message(uint32_t method)
{
    cny_incoming incoming;
    bool complete;
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_int_equal(incoming.method, method);
    assert_non_null(incoming.message);
    return incoming;
}

static void test_update_secret_ok_is_known(void **state)
{
    (void)state;
    static const uint8_t method[] = {0, 10, 0, 71};
    cny_incoming incoming;
    bool complete;
    feed(AMQP_FRAME_METHOD, 0, method, sizeof method);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_int_equal(incoming.method, CNY_CONNECTION_UPDATE_SECRET_OK);
}

static void test_delivery_over_the_limit_comes_without_its_body(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(LIMIT + 1);
    feed(AMQP_FRAME_BODY, 1, "elev", 4);
    feed(AMQP_FRAME_BODY, 1, "en byte", 7);
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_int_equal(message->size, 0);
    assert_int_equal(message->delivery_tag, 7);
    assert_string_equal(message->routing_key, "k");
    assert_string_equal(message->defect, "its body has 11 bytes; max_message_bytes is 10");
    coney_message_unref(message);
}

static void test_message_got_over_the_limit_comes_without_its_body(void **state)
{
    (void)state;
    static const uint8_t get_ok[] = {0, 60, 0, 71, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k', 0, 0, 0, 3};
    feed(AMQP_FRAME_METHOD, 1, get_ok, sizeof get_ok);
    feed_header(LIMIT + 1);
    feed(AMQP_FRAME_BODY, 1, "eleven byte", 11);
    cny_incoming incoming = expect_message(CNY_BASIC_GET_OK);
    assert_int_equal(incoming.message_count, 3);
    assert_int_equal(coney_message_count(incoming.message), 3);
    assert_int_equal(incoming.message->size, 0);
    assert_non_null(incoming.message->defect);
    coney_message_unref(incoming.message);
}

static void test_message_at_the_limit_is_whole(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(LIMIT);
    feed(AMQP_FRAME_BODY, 1, "ten bytes!", 10);
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_int_equal(message->size, 10);
    assert_memory_equal(message->body, "ten bytes!", 10);
    assert_null(message->defect);
    coney_message_unref(message);
}

static void test_returns_have_no_limit(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, return_method, sizeof return_method);
    feed_header(LIMIT + 1);
    feed(AMQP_FRAME_BODY, 1, "eleven byte", 11);
    coney_message *message = expect_message(CNY_BASIC_RETURN).message;
    assert_int_equal(message->size, 11);
    assert_null(message->defect);
    coney_message_unref(message);
}

static const uint8_t header_with_user_id[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 3, 'b', 'o', 'b'};

static void test_user_id_of_a_delivery_is_no_property(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed(AMQP_FRAME_HEADER, 1, header_with_user_id, sizeof header_with_user_id);
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_string_equal(coney_message_received_user_id(message), "bob");
    assert_null(coney_message_properties(message)->user_id);
    coney_message_unref(message);
}

/* Else what comes back would not be known as what was sent. */
static void test_user_id_of_a_return_is_the_property_that_was_sent(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, return_method, sizeof return_method);
    feed(AMQP_FRAME_HEADER, 1, header_with_user_id, sizeof header_with_user_id);
    coney_message *message = expect_message(CNY_BASIC_RETURN).message;
    assert_string_equal(coney_message_properties(message)->user_id, "bob");
    assert_null(coney_message_received_user_id(message));
    coney_message_unref(message);
}

static const uint8_t transient_header[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 1};

static void test_delivery_mode_of_a_delivery_is_no_property(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed(AMQP_FRAME_HEADER, 1, transient_header, sizeof transient_header);
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_TRANSIENT);
    assert_int_equal(coney_message_properties(message)->delivery_mode, CONEY_DELIVERY_DEFAULT);
    coney_message_unref(message);
}

static void test_delivery_mode_of_a_return_is_the_property_that_was_sent(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, return_method, sizeof return_method);
    feed(AMQP_FRAME_HEADER, 1, transient_header, sizeof transient_header);
    coney_message *message = expect_message(CNY_BASIC_RETURN).message;
    assert_int_equal(coney_message_properties(message)->delivery_mode, CONEY_TRANSIENT);
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_DELIVERY_DEFAULT);
    coney_message_unref(message);
}

static void test_delivery_has_a_tag_and_no_count(void **state)
{
    (void)state;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(0);
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_int_equal(coney_message_delivery_tag(message), 7);
    assert_int_equal(coney_message_count(message), -1);
    coney_message_unref(message);
}

static void test_more_than_announced_is_an_error_even_if_skipped(void **state)
{
    (void)state;
    cny_incoming incoming;
    bool complete;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(LIMIT + 1);
    feed(AMQP_FRAME_BODY, 1, "twelve bytes", 12);
    assert_fails(cny_wire_next(wire, &incoming, &complete), CONEY_E_PROTOCOL, "more than the 11 bytes announced");
}

/* ---- the owner's say ---- */

static cny_announcement asked;
static int times_asked;

static cny_admission refuse(void *self, const cny_announcement *announcement)
{
    assert_ptr_equal(self, &asked);
    asked = *announcement;
    times_asked++;
    return CNY_REFUSED;
}

static void refuse_all(void)
{
    wire->max_message_bytes = SIZE_MAX;
    wire->owner = (cny_wire_owner){.self = &asked, .admits = refuse};
    times_asked = 0;
}

static void feed_terabytes(void)
{
    static const uint8_t header[] = {0, 60, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0};
    feed(AMQP_FRAME_HEADER, 1, header, sizeof header);
}

static void test_message_that_is_not_admitted_is_told_of_by_its_tag_alone(void **state)
{
    (void)state;
    cny_incoming incoming;
    bool complete;
    refuse_all();
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(6);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_false(complete);
    feed(AMQP_FRAME_BODY, 1, "sec", 3);
    feed(AMQP_FRAME_BODY, 1, "ret", 3);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_int_equal(incoming.method, CNY_BASIC_DELIVER);
    assert_int_equal(incoming.channel, 1);
    assert_int_equal(incoming.tag, 7);
    assert_null(incoming.message);
    assert_int_equal(times_asked, 1);
}

static void test_owner_is_asked_for_what_the_content_header_announces(void **state)
{
    (void)state;
    cny_incoming incoming;
    bool complete;
    refuse_all();
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_terabytes();
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_false(complete);
    assert_int_equal(asked.method, CNY_BASIC_DELIVER);
    assert_int_equal(asked.channel, 1);
    assert_int_equal(asked.tag, 7);
    assert_int_equal(asked.body_bytes, UINT64_C(1) << 41);
    assert_int_equal(asked.header_bytes, 2);
    assert_false(asked.is_here);
}

static void test_owner_learns_that_a_message_is_here_already(void **state)
{
    (void)state;
    refuse_all();
    cny_incoming incoming;
    bool complete;
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(4);
    feed(AMQP_FRAME_BODY, 1, "here", 4);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_true(asked.is_here);
}

static void test_next_message_after_one_that_was_not_admitted_is_whole(void **state)
{
    (void)state;
    cny_incoming incoming;
    bool complete;
    refuse_all();
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(4);
    feed(AMQP_FRAME_BODY, 1, "skip", 4);
    feed(AMQP_FRAME_METHOD, 1, deliver_method, sizeof deliver_method);
    feed_header(4);
    feed(AMQP_FRAME_BODY, 1, "keep", 4);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_null(incoming.message);
    wire->owner.admits = NULL;
    coney_message *message = expect_message(CNY_BASIC_DELIVER).message;
    assert_memory_equal(message->body, "keep", 4);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_update_secret_ok_is_known, start, finish),
        cmocka_unit_test_setup_teardown(test_delivery_over_the_limit_comes_without_its_body, start, finish),
        cmocka_unit_test_setup_teardown(test_message_got_over_the_limit_comes_without_its_body, start, finish),
        cmocka_unit_test_setup_teardown(test_message_at_the_limit_is_whole, start, finish),
        cmocka_unit_test_setup_teardown(test_returns_have_no_limit, start, finish),
        cmocka_unit_test_setup_teardown(test_user_id_of_a_delivery_is_no_property, start, finish),
        cmocka_unit_test_setup_teardown(test_user_id_of_a_return_is_the_property_that_was_sent, start, finish),
        cmocka_unit_test_setup_teardown(test_more_than_announced_is_an_error_even_if_skipped, start, finish),
        cmocka_unit_test_setup_teardown(test_message_that_is_not_admitted_is_told_of_by_its_tag_alone, start, finish),
        cmocka_unit_test_setup_teardown(test_owner_is_asked_for_what_the_content_header_announces, start, finish),
        cmocka_unit_test_setup_teardown(test_delivery_mode_of_a_delivery_is_no_property, start, finish),
        cmocka_unit_test_setup_teardown(test_delivery_mode_of_a_return_is_the_property_that_was_sent, start, finish),
        cmocka_unit_test_setup_teardown(test_delivery_has_a_tag_and_no_count, start, finish),
        cmocka_unit_test_setup_teardown(test_owner_learns_that_a_message_is_here_already, start, finish),
        cmocka_unit_test_setup_teardown(test_next_message_after_one_that_was_not_admitted_is_whole, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
