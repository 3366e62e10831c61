/* SPDX-License-Identifier: MIT */
/* Objects that the template sends and receives on a real broker: structs by their type, and what messages say of
 * themselves. The queue has dead letters, so that a message that is rejected is found there. */
#include "support/orders.h"
#include "support/test_support.h"

CONEY_TYPED(order, order, order_type);
CONEY_TYPED(orders, coney_list, orders_type);
CONEY_TYPED(mistaken, order_line, order_type);

static const char *queue, *dead;
static coney_template *knowing; /* has types */

static order_line lines[] = {{.sku = "carrot", .quantity = 3, .price = (char[]){"0.50"}},
                             {.sku = "lettuce", .quantity = 1, .price = (char[]){"1.20"}}};

static const order sample = {
    .id = 7,
    .state = ORDER_PAID,
    .customer = {.name = (char[]){"Robin"}},
    .lines = lines,
    .line_count = 2,
    .placed_at = 1764558245,
    .currency = (char[]){"EUR"},
};

static const char sample_json[] =
    "{\"id\":7,\"uuid\":\"00000000-0000-0000-0000-000000000000\",\"state\":\"PAID\",\"customer\":{\"name\":\"Robin\"},"
    "\"lines\":[{\"sku\":\"carrot\",\"quantity\":3,\"price\":\"0.50\"},{\"sku\":\"lettuce\",\"quantity\":1,"
    "\"price\":\"1.20\"}],\"placedAt\":\"2025-12-01T03:04:05Z\",\"note\":null,\"currency\":\"EUR\"}";

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("typed");
    dead = test_name("typed.dead");
    test_make_queue(dead);
    const coney_queue with_dead_letters = {.name = queue, .dead_letter_exchange = "", .dead_letter_routing_key = dead};
    assert_ok(coney_admin_declare_queue(client.admin, &with_dead_letters, NULL));
    const coney_type *types[] = {&order_type, &customer_type, &orders_type, &orders_by_name_type};
    const coney_template_options options = {.types = {types, COUNT_OF(types)}};
    assert_ok(coney_template_new(&knowing, client.factory, &options));
    memset(types, 0, sizeof types); /* the template has a copy */
    return 0;
}

static int teardown(void **state)
{
    coney_template_free(knowing);
    test_delete_queue(queue);
    test_delete_queue(dead);
    return test_client_teardown(state);
}

static int empty_queues(void **state)
{
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    assert_ok(coney_admin_purge_queue(client.admin, dead, NULL));
    return test_no_failed_checks(state);
}

static coney_message *take(const char *from)
{
    coney_message *message = NULL;
    assert_ok(coney_template_receive(client.sender, from, &message, TEST_PATIENCE_MS));
    assert_non_null(message);
    return message;
}

static void expect_header(const coney_message *message, const char *name, const char *expected)
{
    const char *text = coney_table_get_string(coney_message_properties(message)->headers, name);
    if (!expected)
        assert_null(text);
    else
        assert_string_equal(text ? text : "(none)", expected);
}

static void expect_content(const coney_message *message, const char *type, const char *encoding)
{
    const coney_properties *properties = coney_message_properties(message);
    assert_string_equal(properties->content_type, type);
    assert_string_equal(properties->content_encoding ? properties->content_encoding : "(none)", encoding);
}

/* A message as another client may have sent it; names that are NULL are not sent. */
static void send_as(const char *body, const char *content_type, const char *type_id, const char *content_type_id)
{
    coney_table *headers = coney_table_new();
    if (type_id)
        coney_table_set_string(headers, CONEY_HEADER_TYPE_ID, type_id);
    if (content_type_id)
        coney_table_set_string(headers, CONEY_HEADER_CONTENT_TYPE_ID, content_type_id);
    coney_message *message;
    const coney_properties properties = {.content_type = content_type, .headers = headers};
    assert_ok(coney_message_new(&message, body, strlen(body), &properties));
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    coney_message_unref(message);
    coney_table_free(headers);
}

static void expect_dead(const char *body)
{
    coney_message *message = take(dead);
    assert_int_equal(coney_message_size(message), strlen(body));
    assert_memory_equal(coney_message_body(message), body, strlen(body));
    coney_message_unref(message);
    test_wait_for_depth(queue, 0);
}

static void expect_sample(const order *got)
{
    assert_non_null(got);
    assert_int_equal(got->id, 7);
    assert_int_equal(got->state, ORDER_PAID);
    assert_string_equal(got->customer.name, "Robin");
    assert_int_equal(got->line_count, 2);
    assert_string_equal(got->lines[1].sku, "lettuce");
    assert_string_equal(got->lines[1].price, "1.20");
    assert_int_equal(got->placed_at, 1764558245);
}

/* ---- sending ---- */

static void test_struct_goes_as_json_with_its_type_id(void **state)
{
    (void)state;
    assert_ok(coney_template_send_object(client.sender, queue, &order_type, &sample, NULL));
    coney_message *message = take(queue);
    assert_string_equal(coney_message_body(message), sample_json);
    expect_content(message, "application/json", "UTF-8");
    expect_header(message, "__TypeId__", "shop.Order");
    expect_header(message, "__ContentTypeId__", NULL);
    coney_message_unref(message);
}

static void test_list_goes_with_the_id_of_its_elements(void **state)
{
    (void)state;
    order two[] = {sample, sample};
    const coney_list list = {.items = two, .count = 2};
    assert_ok(coney_template_send_object(client.sender, queue, &orders_type, &list, NULL));
    coney_message *message = take(queue);
    expect_header(message, "__TypeId__", "java.util.ArrayList");
    expect_header(message, "__ContentTypeId__", "shop.Order");
    expect_header(message, "__KeyTypeId__", NULL);
    coney_message_unref(message);
}

static void test_properties_win_over_what_is_made(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    coney_table_set_string(headers, CONEY_HEADER_TYPE_ID, "other.Order");
    coney_table_set_string(headers, "region", "north");
    const coney_properties properties = {
        .content_type = "application/vnd.shop+json; charset=ISO-8859-1", .correlation_id = "c-1", .headers = headers};
    order accented = sample;
    accented.customer.name = (char[]){"Zo\xc3\xab"};
    const coney_send_options options = {.properties = &properties};
    assert_ok(coney_template_send_object(client.sender, queue, &order_type, &accented, &options));
    coney_message *message = take(queue);
    expect_content(message, "application/vnd.shop+json; charset=ISO-8859-1", "(none)");
    assert_non_null(strstr(coney_message_body(message), "Zo\xeb"));
    assert_string_equal(coney_message_properties(message)->correlation_id, "c-1");
    expect_header(message, "__TypeId__", "other.Order");
    expect_header(message, "region", "north");
    coney_message_unref(message);
    coney_table_free(headers);
}

static void test_object_that_cannot_be_written_is_told_and_not_sent(void **state)
{
    (void)state;
    order nameless = sample;
    nameless.customer.name = NULL;
    assert_fails(coney_template_send_object(client.sender, queue, &order_type, &nameless, NULL), CONEY_E_CONVERSION,
                 "customer.name");
    assert_fails(coney_template_send_text(client.sender, queue, "\xff", NULL), CONEY_E_CONVERSION,
                 "not UTF-8 at byte 0");
    test_wait_for_depth(queue, 0);
}

static void test_json_text_and_bytes_go_as_what_they_are(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:i}", "id", 1);
    assert_ok(coney_template_send_json(client.sender, queue, json, NULL));
    assert_ok(coney_template_send_text(client.sender, queue, "carrots", NULL));
    assert_ok(coney_template_send_bytes(client.sender, queue, "\0\1", 2, NULL));
    assert_ok(coney_template_send_bytes(client.sender, queue, NULL, 0, NULL));
    json_decref(json);
    static const struct {
        const char *body;
        size_t size;
        const char *type, *encoding;
    } expected[] = {{"{\"id\":1}", 8, "application/json", "UTF-8"},
                    {"carrots", 7, "text/plain", "UTF-8"},
                    {"\0\1", 2, "application/octet-stream", "(none)"},
                    {"", 0, "application/octet-stream", "(none)"}};
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        coney_message *message = take(queue);
        assert_int_equal(coney_message_size(message), expected[i].size);
        assert_memory_equal(coney_message_body(message), expected[i].body, expected[i].size);
        expect_content(message, expected[i].type, expected[i].encoding);
        expect_header(message, "__TypeId__", NULL);
        coney_message_unref(message);
    }
}

static void test_typed_sends_do_not_use_the_converter_of_the_template(void **state)
{
    (void)state;
    coney_template *of_bytes;
    const coney_template_options options = {.converter = coney_bytes_converter()};
    assert_ok(coney_template_new(&of_bytes, client.factory, &options));
    assert_ok(order_send(of_bytes, queue, &sample, NULL));
    assert_ok(coney_template_send_text(of_bytes, queue, "carrots", NULL));
    coney_template_free(of_bytes);
    order *got;
    assert_ok(order_receive(client.sender, queue, &got, TEST_PATIENCE_MS));
    expect_sample(got);
    coney_object_free(got);
    coney_message *message = take(queue);
    assert_string_equal(coney_message_body(message), "carrots");
    coney_message_unref(message);
}

static void test_options_of_a_typed_send_count(void **state)
{
    (void)state;
    assert_fails(coney_template_send_object(client.sender, "no-such-queue", &order_type, &sample, NULL),
                 CONEY_E_RETURNED, "no-such-queue");
    assert_ok(coney_template_send_object(client.sender, "no-such-queue", &order_type, &sample,
                                         &(coney_send_options){.drop_unroutable = true}));
    assert_fails(
        coney_template_send_text(client.sender, queue, "x", &(coney_send_options){.exchange = "no-such-exchange"}),
        CONEY_E_NOT_FOUND, "no-such-exchange");
}

static void test_object_that_is_no_json_is_told(void **state)
{
    (void)state;
    const char text[] = "carrots";
    const coney_bytes bytes = {.data = text, .size = sizeof text};
    assert_fails(coney_template_convert_and_send(client.sender, queue, text, NULL), CONEY_E_CONVERSION,
                 "the object is not a json_t");
    assert_fails(coney_template_convert_and_send(client.sender, queue, &bytes, NULL), CONEY_E_CONVERSION,
                 "the object is not a json_t");
    test_wait_for_depth(queue, 0);
}

/* ---- receiving as a type ---- */

static void test_struct_is_received(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_ok(coney_template_send_object(client.sender, queue, &order_type, &sample, NULL));
        void *object = NULL;
        assert_ok(coney_template_receive_object(client.sender, queue, &order_type, &object, i * TEST_PATIENCE_MS));
        expect_sample(object);
        coney_object_free(object);
        test_wait_for_depth(queue, 0);
    }
}

static void test_no_message_is_no_object(void **state)
{
    (void)state;
    void *object = state;
    coney_content *content = (coney_content *)state;
    order *received = (order *)state;
    assert_ok(coney_template_receive_object(client.sender, queue, &order_type, &object, 0));
    assert_null(object);
    assert_ok(order_receive(client.sender, queue, &received, 50));
    assert_null(received);
    assert_ok(coney_template_receive_content(client.sender, queue, &content, 0));
    assert_null(content);
}

static void test_type_of_the_receiver_wins_over_the_header(void **state)
{
    (void)state;
    static const char *const headers[] = {"com.example.Unknown", "Hashtable", "shop.Customer", NULL};
    for (size_t i = 0; i < COUNT_OF(headers); i++) {
        send_as(sample_json, "application/json", headers[i], NULL);
        order *got;
        assert_ok(order_receive(knowing, queue, &got, TEST_PATIENCE_MS));
        expect_sample(got);
        coney_object_free(got);
    }
}

static void test_body_without_a_content_type_is_json_where_a_type_was_asked_for(void **state)
{
    (void)state;
    static const char *const types[] = {NULL, "application/octet-stream", "text/x-json", "application/vnd.shop+json"};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        send_as(sample_json, types[i], NULL, NULL);
        order *got;
        assert_ok(order_receive(client.sender, queue, &got, TEST_PATIENCE_MS));
        expect_sample(got);
        coney_object_free(got);
    }
}

static void test_message_that_does_not_fit_is_rejected_and_the_place_is_told(void **state)
{
    (void)state;
    static const char wrong[] = "{\"id\":7,\"state\":\"PAID\",\"customer\":{\"name\":\"R\"},\"lines\":[{\"sku\":\"c\","
                                "\"quantity\":\"two\",\"price\":\"1\"}],\"placedAt\":\"2025-12-01T03:04:05Z\"}";
    send_as(wrong, "application/json", NULL, NULL);
    order *got = (order *)state;
    assert_fails(order_receive(client.sender, queue, &got, TEST_PATIENCE_MS), CONEY_E_CONVERSION,
                 "$.lines[0].quantity: expected integer, got \"two\"");
    assert_non_null(strstr(coney_last_error(), queue));
    assert_null(got);
    expect_dead(wrong);
    send_as("carrots", "text/plain", NULL, NULL);
    assert_fails(order_receive(client.sender, queue, &got, 0), CONEY_E_CONVERSION, "content type 'text/plain'");
    expect_dead("carrots");
}

static void test_wrong_table_takes_no_message(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(customer, name, CONEY_STRING),
                                         CONEY_FIELD(customer, mail, CONEY_STRING, .name = "name")};
    static const coney_type twice = CONEY_TYPE("shop.Customer", customer, fields);
    send_as("{\"name\":\"Robin\"}", "application/json", NULL, NULL);
    void *object = state;
    assert_fails(coney_template_receive_object(client.sender, queue, &twice, &object, 0), CONEY_E_INVALID, "name");
    assert_null(object);
    test_wait_for_depth(queue, 1);
}

/* ---- receiving what a message says it is ---- */

static coney_content *content_from(coney_template *receiver)
{
    coney_content *content = NULL;
    assert_ok(coney_template_receive_content(receiver, queue, &content, TEST_PATIENCE_MS));
    assert_non_null(content);
    return content;
}

static void test_header_chooses_among_the_types_of_the_template(void **state)
{
    (void)state;
    send_as(sample_json, "application/json", "shop.Order", NULL);
    coney_content *content = content_from(knowing);
    assert_int_equal(content->kind, CONEY_CONTENT_OBJECT);
    assert_ptr_equal(content->type, &order_type);
    expect_sample(content->object);
    coney_content_free(content);
    send_as("{\"name\":\"Robin\"}", NULL, "shop.Customer", NULL);
    content = content_from(knowing);
    assert_ptr_equal(content->type, &customer_type);
    assert_string_equal(((const customer *)content->object)->name, "Robin");
    coney_content_free(content);
    send_as("[]", "application/json", "java.util.ArrayList", "shop.Order");
    content = content_from(knowing);
    assert_ptr_equal(content->type, &orders_type);
    assert_int_equal(((const coney_list *)content->object)->count, 0);
    coney_content_free(content);
}

static void test_type_that_the_template_does_not_know_is_rejected(void **state)
{
    (void)state;
    send_as("{}", "application/json", "com.example.Unknown", NULL);
    coney_content *content = (coney_content *)state;
    assert_fails(coney_template_receive_content(knowing, queue, &content, TEST_PATIENCE_MS), CONEY_E_CONVERSION,
                 "com.example.Unknown");
    assert_null(content);
    expect_dead("{}");
    send_as("{\"name\":1}", "application/json", "shop.Customer", NULL);
    assert_fails(coney_template_receive_content(knowing, queue, &content, 0), CONEY_E_CONVERSION,
                 "$.name: expected string");
    expect_dead("{\"name\":1}");
}

static void test_content_type_decides_without_a_type(void **state)
{
    (void)state;
    static const struct {
        const char *body, *content_type, *type_id;
        coney_content_kind kind;
    } cases[] = {{"carrots", "text/plain", NULL, CONEY_CONTENT_TEXT},
                 {"{\"a\":1}", "application/json", NULL, CONEY_CONTENT_JSON},
                 {"{\"a\":1}", "application/json", "Hashtable", CONEY_CONTENT_JSON},
                 {"{\"a\":1}", "text/x-json", NULL, CONEY_CONTENT_JSON},
                 {"{\"a\":1}", "application/octet-stream", NULL, CONEY_CONTENT_BYTES},
                 {"{\"a\":1}", NULL, NULL, CONEY_CONTENT_BYTES},
                 {"{\"a\":1}", "image/png", NULL, CONEY_CONTENT_BYTES}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        send_as(cases[i].body, cases[i].content_type, cases[i].type_id, NULL);
        coney_content *content = content_from(knowing);
        assert_int_equal(content->kind, cases[i].kind);
        assert_true(content->kind != CONEY_CONTENT_TEXT || strcmp(content->text, "carrots") == 0);
        assert_true(content->kind != CONEY_CONTENT_BYTES || strcmp(content->bytes.data, cases[i].body) == 0);
        assert_true(content->kind != CONEY_CONTENT_JSON ||
                    json_integer_value(json_object_get(content->json, "a")) == 1);
        coney_content_free(content);
    }
}

static void test_without_types_the_header_says_nothing(void **state)
{
    (void)state;
    send_as("{\"a\":1}", "application/json", "com.example.Unknown", NULL);
    coney_content *content = content_from(client.sender);
    assert_int_equal(content->kind, CONEY_CONTENT_JSON);
    coney_content_free(content);
}

static void test_types_of_a_template_do_not_change_its_converter(void **state)
{
    (void)state;
    send_as(sample_json, NULL, "shop.Order", NULL);
    void *object;
    assert_ok(coney_template_receive_and_convert(knowing, queue, &object, TEST_PATIENCE_MS));
    assert_int_equal(json_integer_value(json_object_get(object, "id")), 7);
    json_decref(object);
}

/* ---- functions for one struct ---- */

static void test_functions_for_a_struct_send_and_receive_it(void **state)
{
    (void)state;
    assert_ok(order_send(client.sender, queue, &sample, NULL));
    order *got;
    assert_ok(order_receive(client.sender, queue, &got, TEST_PATIENCE_MS));
    expect_sample(got);
    coney_object_free(got);
    coney_list list = {.items = (order[]){sample}, .count = 1}, *received;
    assert_ok(orders_send(client.sender, queue, &list, NULL));
    assert_ok(orders_receive(client.sender, queue, &received, TEST_PATIENCE_MS));
    assert_int_equal(received->count, 1);
    expect_sample(received->items);
    coney_object_free(received);
}

static void count_confirm(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    atomic_fetch_add((atomic_int *)user, error == NULL);
}

static void test_functions_for_a_struct_make_and_read_messages(void **state)
{
    (void)state;
    atomic_int confirmed = 0;
    coney_message *message;
    order *got;
    assert_ok(order_to_message(&message, &sample, NULL));
    assert_ok(coney_template_send_async(client.sender, queue, message, NULL, count_confirm, &confirmed));
    coney_message_unref(message);
    test_wait_for(&confirmed, 1);
    message = take(queue);
    assert_ok(order_from_message(&got, message));
    expect_sample(got);
    coney_object_free(got);
    coney_message_unref(message);
}

static void test_functions_for_a_struct_refuse_the_type_of_another(void **state)
{
    (void)state;
    coney_message *message = test_text("{}");
    order_line *line = lines;
    static const char words[] = "order_type does not describe order_line";
    assert_fails(mistaken_send(client.sender, queue, lines, NULL), CONEY_E_CONVERSION, words);
    assert_fails(mistaken_receive(client.sender, queue, &line, 0), CONEY_E_CONVERSION, words);
    assert_null(line);
    assert_fails(mistaken_from_message(&line, message), CONEY_E_CONVERSION, words);
    coney_message_unref(message);
    assert_fails(mistaken_to_message(&message, lines, NULL), CONEY_E_CONVERSION, words);
    assert_null(message);
    assert_fails(order_receive(client.sender, queue, NULL, 0), CONEY_E_INVALID, "object is NULL");
}

/* ---- replying ---- */

static coney_status price(coney_message *request, coney_message **reply, void *user)
{
    (void)user;
    order *asked;
    coney_status status = order_from_message(&asked, request);
    if (status != CONEY_OK)
        return status;
    const customer answer = {.name = asked->customer.name};
    status = coney_message_new_object(reply, &customer_type, &answer, NULL);
    coney_object_free(asked);
    return status;
}

static void test_request_and_reply_are_objects(void **state)
{
    (void)state;
    const coney_properties properties = {.reply_to = dead, .correlation_id = "c-2"};
    assert_ok(order_send(client.sender, queue, &sample, &(coney_send_options){.properties = &properties}));
    bool received;
    assert_ok(coney_template_receive_and_reply(client.sender, queue, NULL, &received, price, NULL));
    assert_true(received);
    coney_message *reply = take(dead);
    assert_string_equal(coney_message_properties(reply)->correlation_id, "c-2");
    expect_header(reply, "__TypeId__", "shop.Customer");
    assert_string_equal(coney_message_body(reply), "{\"name\":\"Robin\"}");
    coney_message_unref(reply);
}

#define typed(test) cmocka_unit_test_setup(test, empty_queues)

int main(void)
{
    const struct CMUnitTest tests[] = {
        typed(test_struct_goes_as_json_with_its_type_id),
        typed(test_list_goes_with_the_id_of_its_elements),
        typed(test_properties_win_over_what_is_made),
        typed(test_object_that_cannot_be_written_is_told_and_not_sent),
        typed(test_json_text_and_bytes_go_as_what_they_are),
        typed(test_typed_sends_do_not_use_the_converter_of_the_template),
        typed(test_options_of_a_typed_send_count),
        typed(test_object_that_is_no_json_is_told),
        typed(test_struct_is_received),
        typed(test_no_message_is_no_object),
        typed(test_type_of_the_receiver_wins_over_the_header),
        typed(test_body_without_a_content_type_is_json_where_a_type_was_asked_for),
        typed(test_message_that_does_not_fit_is_rejected_and_the_place_is_told),
        typed(test_wrong_table_takes_no_message),
        typed(test_header_chooses_among_the_types_of_the_template),
        typed(test_type_that_the_template_does_not_know_is_rejected),
        typed(test_content_type_decides_without_a_type),
        typed(test_without_types_the_header_says_nothing),
        typed(test_types_of_a_template_do_not_change_its_converter),
        typed(test_functions_for_a_struct_send_and_receive_it),
        typed(test_functions_for_a_struct_make_and_read_messages),
        typed(test_functions_for_a_struct_refuse_the_type_of_another),
        typed(test_request_and_reply_are_objects),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
