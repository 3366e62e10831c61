/* SPDX-License-Identifier: MIT */
/* A payload is a struct by the type of the listener or of a handler, or by the header __TypeId__, as Spring sends it;
 * what does not fit is rejected. */
#include "support/payloads.h"

CONEY_TYPED(order, order, order_type);
CONEY_TYPED(customer, customer, customer_type);
CONEY_TYPED(wrong, order, customer_type);

static const coney_type *const order_and_customer[] = {&order_type, &customer_type};
static const coney_types types = {order_and_customer, COUNT_OF(order_and_customer)};

/* ---- the listener's type ---- */

static void test_payload_is_the_struct_of_the_listener(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type});
    payloads_send_json(ORDER(7), "shop.Order");
    payloads_expect("order 7");
    listening_expect_nothing_left();
}

static void test_type_of_the_listener_wins_over_headers(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type});
    payloads_send_json(ORDER(1), "com.acme.Unknown");
    payloads_expect("order 1");
    payloads_send_as(ORDER(2), "application/json", "java.util.ArrayList", "shop.Customer", NULL);
    payloads_expect("order 2");
    payloads_send_json(ORDER(3), NULL);
    payloads_expect("order 3");
}

static void test_struct_is_read_without_a_content_type_and_of_octet_stream(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type});
    payloads_send_as(ORDER(1), NULL, NULL, NULL, NULL);
    payloads_expect("order 1");
    payloads_send_as(ORDER(2), "application/octet-stream", NULL, NULL, NULL);
    payloads_expect("order 2");
    payloads_send_as(ORDER(3), "application/vnd.shop+json", NULL, NULL, NULL);
    payloads_expect("order 3");
    payloads_send_as(ORDER(4), "text/x-json", NULL, NULL, NULL);
    payloads_expect("order 4");
}

static void expect_no_order(const char *body, const char *content_type, const char *words)
{
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type});
    payloads_send_as(body, content_type, NULL, NULL, NULL);
    payloads_expect_rejected(words);
    test_wait_for_depth(listening.dead, 1);
}

static void test_wrong_member_is_rejected_with_its_path(void **state)
{
    (void)state;
    expect_no_order("{\"id\":1,\"state\":\"NEW\",\"customer\":{\"name\":7}}", "application/json",
                    "it cannot be converted: type 'shop.Order': $.customer.name: expected string, got 7");
}

static void test_text_is_no_struct(void **state)
{
    (void)state;
    expect_no_order(ORDER(1), "text/plain", "content type 'text/plain' is not JSON");
}

static void test_empty_body_is_no_struct(void **state)
{
    (void)state;
    expect_no_order("", "application/json", "it cannot be converted");
}

static coney_outcome take_by_function(coney_delivery *delivery, void *user)
{
    const order *got = order_of(delivery);
    (void)user;
    check(got && got == coney_delivery_payload(delivery));
    check(!customer_of(delivery) && strstr(coney_last_error(), "not 'shop.Customer'"));
    check(!wrong_of(delivery) && strstr(coney_last_error(), "customer_type does not describe order"));
    payloads_note("", "taken");
    return CONEY_ACK;
}

static void test_function_of_a_struct_gives_that_struct_only(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take_by_function, .type = &order_type});
    payloads_send_json(ORDER(1), NULL);
    payloads_expect("taken");
}

/* ---- the header chooses ---- */

static void test_header_chooses_by_precedence(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .on_message = payloads_take, .type = &order_type, .types = types, .type_precedence = CONEY_TYPE_ID});
    payloads_send_json(CUSTOMER, "shop.Customer");
    payloads_expect("customer Bob");
    payloads_send_json(ORDER(5), "shop.Order");
    payloads_expect("order 5");
}

static void test_message_without_a_name_has_the_listeners_type(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .on_message = payloads_take, .type = &order_type, .types = types, .type_precedence = CONEY_TYPE_ID});
    payloads_send_json(ORDER(1), NULL);
    payloads_expect("order 1");
    payloads_send_json(ORDER(2), "Hashtable");
    payloads_expect("order 2");
}

static void test_type_of_the_listener_is_known_without_types(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.on_message = payloads_take, .type = &order_type, .type_precedence = CONEY_TYPE_ID});
    payloads_send_json(ORDER(1), "shop.Order");
    payloads_expect("order 1");
    payloads_send_json(ORDER(1), "shop.Invoice");
    payloads_expect_rejected("its header __TypeId__ is 'shop.Invoice'; the types here are: 'shop.Order'");
}

static void test_unknown_name_is_an_error_where_the_header_decides(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .types = types, .type_precedence = CONEY_TYPE_ID});
    payloads_send_json(ORDER(1), "shop.Invoice");
    payloads_expect_rejected("it cannot be converted: its header __TypeId__ is 'shop.Invoice'; the types here are: "
                             "'shop.Order', 'shop.Customer'");
    test_wait_for_depth(listening.dead, 1);
}

static void test_types_alone_let_the_header_choose(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .types = types});
    payloads_send_json(CUSTOMER, "shop.Customer");
    payloads_expect("customer Bob");
    payloads_send_as(ORDER(2), "application/octet-stream", "shop.Order", NULL, NULL);
    payloads_expect("order 2");
}

static void test_default_handler_gets_other_names_by_content_type(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .types = types});
    payloads_send_json("{\"a\":1,\"b\":2}", "shop.Invoice");
    payloads_expect("JSON of 2");
    payloads_send_json("{\"a\":1}", NULL);
    payloads_expect("JSON of 1");
    payloads_send_as("hello", "text/plain", "java.lang.String", NULL, NULL);
    payloads_expect("text hello");
    assert_int_equal(listening_statistics().fatal, 0);
}

/* ---- handlers ---- */

static void test_handlers_are_chosen_by_their_payload_types(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {
        {.payload_type = &order_type, .on_message = payloads_take_first},
        {.payload_type = &customer_type, .on_message = payloads_take_second}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers)});
    payloads_send_json(CUSTOMER, "shop.Customer");
    payloads_expect("second: customer Bob");
    payloads_send_json(ORDER(3), "shop.Order");
    payloads_expect("first: order 3");
    listening_send_with(ORDER(4), &(coney_properties){.type = "shop.Order"});
    payloads_expect("first: order 4");
    payloads_send_json(ORDER(5), "shop.Invoice");
    payloads_expect_rejected("no handler takes type 'shop.Invoice', and there is no on_message");
}

static void test_handler_of_another_name_reads_its_payload_type(void **state)
{
    (void)state;
    static const coney_typed_handler handler = {
        .type = "order", .payload_type = &order_type, .on_message = payloads_take_first};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .on_message = payloads_take, .type_precedence = CONEY_TYPE_ID});
    payloads_send_json(ORDER(3), "order");
    payloads_expect("first: order 3");
    payloads_send_json(ORDER(4), "shop.Order");
    payloads_expect("order 4");
}

static void test_handler_of_a_list_is_chosen_by_its_elements(void **state)
{
    (void)state;
    static const coney_type customers_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(customer_type));
    static const coney_typed_handler handlers[] = {
        {.payload_type = &customers_type, .on_message = payloads_take_second},
        {.payload_type = &orders_type, .on_message = payloads_take_first}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers)});
    payloads_send_as("[" ORDER(1) "," ORDER(2) "]", "application/json", "java.util.ArrayList", "shop.Order", NULL);
    payloads_expect("first: 2 orders");
    payloads_send_as("[" ORDER(1) "]", "application/json", "java.util.ImmutableCollections$ListN", "shop.Order", NULL);
    payloads_expect("first: 1 orders");
    payloads_send_json("[" ORDER(1) "," ORDER(2) "]", "[Lshop.Order;");
    payloads_expect("first: 2 orders");
    payloads_send_as("[]", "application/json", "java.util.ArrayList", "shop.Customer", NULL);
    payloads_expect("second: another type");
    payloads_send_as("[]", "application/json", "java.util.ArrayList", "shop.Invoice", NULL);
    payloads_expect_rejected("no handler takes type 'java.util.ArrayList'");
}

static void test_handler_finds_its_type_among_those_of_the_listener(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {{.type = "shop.Order", .on_message = payloads_take_first},
                                                   {.type = "shop.Invoice", .on_message = payloads_take_second}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers), .types = types});
    payloads_send_json(ORDER(1), "shop.Order");
    payloads_expect("first: order 1");
    listening_send_with(ORDER(2), &(coney_properties){.type = "shop.Order"});
    payloads_expect("first: order 2");
    payloads_send_json("{}", "shop.Invoice");
    payloads_expect("second: JSON of 0");
}

static void test_handler_without_a_payload_of_its_own_has_the_listeners_type(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {
        {.type = "a", .on_message = payloads_take_first},
        {.type = "b", .on_message = payloads_take_second, .converter = NULL, .payload_type = &customer_type}};
    listening_start(
        &(coney_listener){.handlers = handlers, .handler_count = 2, .on_message = payloads_take, .type = &order_type});
    payloads_send_json(ORDER(1), "a");
    payloads_expect("first: order 1");
    payloads_send_json(CUSTOMER, "b");
    payloads_expect("second: customer Bob");
    payloads_send_json(ORDER(2), "c");
    payloads_expect("order 2");
}

static void test_payload_type_wins_over_the_listeners_converter(void **state)
{
    (void)state;
    static const coney_typed_handler handler = {.payload_type = &order_type, .on_message = payloads_take_first};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .on_message = payloads_take, .converter = coney_text_converter()});
    payloads_send_json(ORDER(1), "shop.Order");
    payloads_expect("first: order 1");
    payloads_send_json("{}", "shop.Invoice");
    payloads_expect("text {}");
}

/* ---- validator ---- */

static coney_status refuse_odd(const void *object, void *user)
{
    (void)user;
    const order *checked = object;
    return checked->id % 2 ? coney_conversion_failed("order %d is odd", (int)checked->id) : CONEY_OK;
}

static void test_validator_gets_the_struct(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type, .validator = refuse_odd});
    payloads_send_json(ORDER(2), NULL);
    payloads_expect("order 2");
    payloads_send_json(ORDER(3), NULL);
    payloads_expect_rejected("it is not valid: order 3 is odd");
}

static void test_message_that_names_no_type_is_not_valid(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .types = types, .validator = refuse_odd});
    payloads_send_json(ORDER(2), "shop.Order");
    payloads_expect("order 2");
    payloads_send_json(ORDER(2), NULL);
    payloads_expect_rejected("it names no type in a header __TypeId__, so the validator cannot check it");
}

static void test_message_that_names_an_unknown_type_is_not_valid(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .types = types, .validator = refuse_odd});
    payloads_send_json(ORDER(2), "shop.Invoice");
    payloads_expect_rejected("its header __TypeId__ is 'shop.Invoice'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        payloads_test(test_payload_is_the_struct_of_the_listener),
        payloads_test(test_type_of_the_listener_wins_over_headers),
        payloads_test(test_struct_is_read_without_a_content_type_and_of_octet_stream),
        payloads_test(test_wrong_member_is_rejected_with_its_path),
        payloads_test(test_text_is_no_struct),
        payloads_test(test_empty_body_is_no_struct),
        payloads_test(test_function_of_a_struct_gives_that_struct_only),
        payloads_test(test_header_chooses_by_precedence),
        payloads_test(test_message_without_a_name_has_the_listeners_type),
        payloads_test(test_type_of_the_listener_is_known_without_types),
        payloads_test(test_unknown_name_is_an_error_where_the_header_decides),
        payloads_test(test_types_alone_let_the_header_choose),
        payloads_test(test_default_handler_gets_other_names_by_content_type),
        payloads_test(test_handlers_are_chosen_by_their_payload_types),
        payloads_test(test_handler_of_another_name_reads_its_payload_type),
        payloads_test(test_handler_of_a_list_is_chosen_by_its_elements),
        payloads_test(test_handler_finds_its_type_among_those_of_the_listener),
        payloads_test(test_handler_without_a_payload_of_its_own_has_the_listeners_type),
        payloads_test(test_payload_type_wins_over_the_listeners_converter),
        payloads_test(test_validator_gets_the_struct),
        payloads_test(test_message_that_names_no_type_is_not_valid),
        payloads_test(test_message_that_names_an_unknown_type_is_not_valid),
    };
    return test_run_with_workers("typed listener", tests, test_client_setup, payloads_teardown);
}
