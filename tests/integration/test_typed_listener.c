/* SPDX-License-Identifier: MIT */
/* What payload a handler gets: a struct by the listener's type or by the header __TypeId__, as Spring sends it, or the
 * body by its content type; and what becomes of messages that do not fit. */
#include "support/listening.h"
#include "support/orders.h"
#include "support/plain_client.h"

#include <pthread.h>
#include <stdio.h>

#define ORDER(id)                                                                                                      \
    "{\"id\":" #id ",\"state\":\"NEW\",\"customer\":{\"name\":\"Ann\"},\"lines\":[],"                                  \
    "\"placedAt\":\"2026-12-01T03:04:05Z\"}"
#define CUSTOMER "{\"name\":\"Bob\"}"

/* ---- a handler that notes what it gets ---- */

enum { MAX_NOTES = 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char notes[MAX_NOTES][400];
static atomic_int note_count;

static void note(const char *who, const char *what)
{
    pthread_mutex_lock(&lock);
    check(note_count < MAX_NOTES);
    if (note_count < MAX_NOTES)
        snprintf(notes[note_count], sizeof notes[0], "%s%s", who, what);
    atomic_fetch_add(&note_count, 1);
    pthread_mutex_unlock(&lock);
}

static void describe_object(char *to, size_t size, const coney_content *content)
{
    if (content->type == &order_type)
        snprintf(to, size, "order %d", (int)((const order *)content->object)->id);
    else if (content->type == &customer_type)
        snprintf(to, size, "customer %s", ((const customer *)content->object)->name);
    else if (content->type == &orders_type)
        snprintf(to, size, "%zu orders", ((const coney_list *)content->object)->count);
    else
        snprintf(to, size, "another type");
}

static void describe(char *to, size_t size, const coney_delivery *delivery)
{
    const coney_content *content = coney_delivery_content(delivery);
    check(coney_delivery_type(delivery) == (content ? content->type : NULL));
    if (!content)
        snprintf(to, size, "nothing: %s", coney_last_error());
    else if (content->kind == CONEY_CONTENT_OBJECT)
        describe_object(to, size, content);
    else if (content->kind == CONEY_CONTENT_JSON)
        snprintf(to, size, "JSON of %zu", json_object_size(content->json));
    else if (content->kind == CONEY_CONTENT_TEXT)
        snprintf(to, size, "text %s", content->text);
    else
        snprintf(to, size, "bytes %s", (const char *)content->bytes.data);
}

/* The same by all functions. */
static void check_alike(const coney_delivery *delivery)
{
    const void *payload = coney_delivery_payload(delivery);
    const coney_content *content = coney_delivery_content(delivery);
    if (!content)
        check(!payload);
    else if (content->kind == CONEY_CONTENT_OBJECT)
        check(payload == content->object && coney_delivery_object(delivery, content->type) == payload);
    else if (content->kind == CONEY_CONTENT_JSON)
        check(payload == content->json && coney_delivery_json(delivery) == payload);
    else if (content->kind == CONEY_CONTENT_TEXT)
        check(payload == content->text && coney_delivery_text(delivery) == payload);
    else
        check(((const coney_bytes *)payload)->data == content->bytes.data);
}

static coney_outcome note_as(const char *who, const coney_delivery *delivery)
{
    char text[400];
    describe(text, sizeof text, delivery);
    check_alike(delivery);
    note(who, text);
    return CONEY_ACK;
}

static coney_outcome take(coney_delivery *delivery, void *user)
{
    (void)user;
    return note_as("", delivery);
}

static coney_outcome take_first(coney_delivery *delivery, void *user)
{
    (void)user;
    return note_as("first: ", delivery);
}

static coney_outcome take_second(coney_delivery *delivery, void *user)
{
    (void)user;
    return note_as("second: ", delivery);
}

static int setup(void **state)
{
    note_count = 0;
    return listening_setup(state);
}

#define typed_test(function) cmocka_unit_test_setup_teardown(function, setup, listening_teardown)

/* ---- messages ---- */

/* As Spring's converters write headers: long strings. Coney itself always writes a content type. */
static void send_as(const char *body, const char *content_type, const char *id, const char *content, const char *key)
{
    if (!content_type) {
        plain_publish("", listening.queue, &(amqp_basic_properties_t){0}, body);
        return;
    }
    coney_table *headers = coney_table_new();
    if (id)
        assert_ok(coney_table_set_string(headers, "__TypeId__", id));
    if (content)
        assert_ok(coney_table_set_string(headers, "__ContentTypeId__", content));
    if (key)
        assert_ok(coney_table_set_string(headers, "__KeyTypeId__", key));
    listening_send_with(
        body, &(coney_properties){.content_type = content_type, .content_encoding = "UTF-8", .headers = headers});
    coney_table_free(headers);
}

static void send_json(const char *body, const char *id)
{
    send_as(body, "application/json", id, NULL, NULL);
}

/* The oldest note has these words; it is forgotten. */
static void expect(const char *words)
{
    char text[400];
    test_wait_until(note_count > 0);
    pthread_mutex_lock(&lock);
    snprintf(text, sizeof text, "%s", notes[0]);
    memmove(notes, notes + 1, sizeof notes - sizeof notes[0]);
    atomic_fetch_sub(&note_count, 1);
    pthread_mutex_unlock(&lock);
    if (!strstr(text, words))
        fail_msg("'%s' is not in '%s'", words, text);
}

/* The message that was sent last is rejected, no handler is called, and the log tells why. */
static void expect_rejected(const char *words)
{
    test_log_expect(words);
    test_wait_until(listening_statistics().rejected > 0);
    assert_int_equal(note_count, 0);
}

static const coney_type *const order_and_customer[] = {&order_type, &customer_type};
static const coney_types types = {order_and_customer, COUNT_OF(order_and_customer)};

/* ---- the listener's type ---- */

static void test_payload_is_the_struct_of_the_listener(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .type = &order_type});
    send_json(ORDER(7), "shop.Order");
    expect("order 7");
    listening_expect_nothing_left();
}

static void test_type_of_the_listener_wins_over_headers(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .type = &order_type});
    send_json(ORDER(1), "com.acme.Unknown");
    expect("order 1");
    send_as(ORDER(2), "application/json", "java.util.ArrayList", "shop.Customer", NULL);
    expect("order 2");
    send_json(ORDER(3), NULL);
    expect("order 3");
}

static void test_struct_is_read_without_a_content_type_and_of_octet_stream(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .type = &order_type});
    send_as(ORDER(1), NULL, NULL, NULL, NULL);
    expect("order 1");
    send_as(ORDER(2), "application/octet-stream", NULL, NULL, NULL);
    expect("order 2");
    send_as(ORDER(3), "application/vnd.shop+json", NULL, NULL, NULL);
    expect("order 3");
    send_as(ORDER(4), "text/x-json", NULL, NULL, NULL);
    expect("order 4");
}

static void expect_no_order(const char *body, const char *content_type, const char *words)
{
    listening_start(&(coney_listener){.on_message = take, .type = &order_type});
    send_as(body, content_type, NULL, NULL, NULL);
    expect_rejected(words);
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

/* ---- the header chooses ---- */

static void test_header_chooses_by_precedence(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.on_message = take, .type = &order_type, .types = types, .type_precedence = CONEY_TYPE_ID});
    send_json(CUSTOMER, "shop.Customer");
    expect("customer Bob");
    send_json(ORDER(5), "shop.Order");
    expect("order 5");
}

static void test_message_without_a_name_has_the_listeners_type(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.on_message = take, .type = &order_type, .types = types, .type_precedence = CONEY_TYPE_ID});
    send_json(ORDER(1), NULL);
    expect("order 1");
    send_json(ORDER(2), "Hashtable");
    expect("order 2");
}

static void test_type_of_the_listener_is_known_without_types(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .type = &order_type, .type_precedence = CONEY_TYPE_ID});
    send_json(ORDER(1), "shop.Order");
    expect("order 1");
    send_json(ORDER(1), "shop.Invoice");
    expect_rejected("its header __TypeId__ is 'shop.Invoice'; the types here are: 'shop.Order'");
}

static void test_unknown_name_is_an_error_where_the_header_decides(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .types = types, .type_precedence = CONEY_TYPE_ID});
    send_json(ORDER(1), "shop.Invoice");
    expect_rejected("it cannot be converted: its header __TypeId__ is 'shop.Invoice'; the types here are: "
                    "'shop.Order', 'shop.Customer'");
    test_wait_for_depth(listening.dead, 1);
}

static void test_types_alone_let_the_header_choose(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .types = types});
    send_json(CUSTOMER, "shop.Customer");
    expect("customer Bob");
    send_as(ORDER(2), "application/octet-stream", "shop.Order", NULL, NULL);
    expect("order 2");
}

static void test_default_handler_gets_other_names_by_content_type(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .types = types});
    send_json("{\"a\":1,\"b\":2}", "shop.Invoice");
    expect("JSON of 2");
    send_json("{\"a\":1}", NULL);
    expect("JSON of 1");
    send_as("hello", "text/plain", "java.lang.String", NULL, NULL);
    expect("text hello");
    assert_int_equal(listening_statistics().fatal, 0);
}

/* ---- handlers ---- */

static void test_handlers_are_chosen_by_their_payload_types(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {{.payload_type = &order_type, .on_message = take_first},
                                                   {.payload_type = &customer_type, .on_message = take_second}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers)});
    send_json(CUSTOMER, "shop.Customer");
    expect("second: customer Bob");
    send_json(ORDER(3), "shop.Order");
    expect("first: order 3");
    listening_send_with(ORDER(4), &(coney_properties){.type = "shop.Order"});
    expect("first: order 4");
    send_json(ORDER(5), "shop.Invoice");
    expect_rejected("no handler takes type 'shop.Invoice', and there is no on_message");
}

static void test_handler_of_another_name_reads_its_payload_type(void **state)
{
    (void)state;
    static const coney_typed_handler handler = {.type = "order", .payload_type = &order_type, .on_message = take_first};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .on_message = take, .type_precedence = CONEY_TYPE_ID});
    send_json(ORDER(3), "order");
    expect("first: order 3");
    send_json(ORDER(4), "shop.Order");
    expect("order 4");
}

static void test_handler_of_a_list_is_chosen_by_its_elements(void **state)
{
    (void)state;
    static const coney_type customers_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(customer_type));
    static const coney_typed_handler handlers[] = {{.payload_type = &customers_type, .on_message = take_second},
                                                   {.payload_type = &orders_type, .on_message = take_first}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers)});
    send_as("[" ORDER(1) "," ORDER(2) "]", "application/json", "java.util.ArrayList", "shop.Order", NULL);
    expect("first: 2 orders");
    send_as("[" ORDER(1) "]", "application/json", "java.util.ImmutableCollections$ListN", "shop.Order", NULL);
    expect("first: 1 orders");
    send_json("[" ORDER(1) "," ORDER(2) "]", "[Lshop.Order;");
    expect("first: 2 orders");
    send_as("[]", "application/json", "java.util.ArrayList", "shop.Customer", NULL);
    expect("second: another type");
    send_as("[]", "application/json", "java.util.ArrayList", "shop.Invoice", NULL);
    expect_rejected("no handler takes type 'java.util.ArrayList'");
}

static void test_handler_finds_its_type_among_those_of_the_listener(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {{.type = "shop.Order", .on_message = take_first},
                                                   {.type = "shop.Invoice", .on_message = take_second}};
    listening_start(&(coney_listener){.handlers = handlers, .handler_count = COUNT_OF(handlers), .types = types});
    send_json(ORDER(1), "shop.Order");
    expect("first: order 1");
    listening_send_with(ORDER(2), &(coney_properties){.type = "shop.Order"});
    expect("first: order 2");
    send_json("{}", "shop.Invoice");
    expect("second: JSON of 0");
}

static void test_handler_without_a_payload_of_its_own_has_the_listeners_type(void **state)
{
    (void)state;
    static const coney_typed_handler handlers[] = {
        {.type = "a", .on_message = take_first},
        {.type = "b", .on_message = take_second, .converter = NULL, .payload_type = &customer_type}};
    listening_start(
        &(coney_listener){.handlers = handlers, .handler_count = 2, .on_message = take, .type = &order_type});
    send_json(ORDER(1), "a");
    expect("first: order 1");
    send_json(CUSTOMER, "b");
    expect("second: customer Bob");
    send_json(ORDER(2), "c");
    expect("order 2");
}

static void test_payload_type_wins_over_the_listeners_converter(void **state)
{
    (void)state;
    static const coney_typed_handler handler = {.payload_type = &order_type, .on_message = take_first};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .on_message = take, .converter = coney_text_converter()});
    send_json(ORDER(1), "shop.Order");
    expect("first: order 1");
    send_json("{}", "shop.Invoice");
    expect("text {}");
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
    listening_start(&(coney_listener){.on_message = take, .type = &order_type, .validator = refuse_odd});
    send_json(ORDER(2), NULL);
    expect("order 2");
    send_json(ORDER(3), NULL);
    expect_rejected("it is not valid: order 3 is odd");
}

static void test_message_that_names_no_type_is_not_valid(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .types = types, .validator = refuse_odd});
    send_json(ORDER(2), "shop.Order");
    expect("order 2");
    send_json(ORDER(2), NULL);
    expect_rejected("it names no type in a header __TypeId__, so the validator cannot check it");
}

static void test_message_that_names_an_unknown_type_is_not_valid(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .types = types, .validator = refuse_odd});
    send_json(ORDER(2), "shop.Invoice");
    expect_rejected("its header __TypeId__ is 'shop.Invoice'");
}

/* ---- how long it lives ---- */

static void take_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = note_as("batch: ", deliveries[i]);
}

static void test_batch_has_structs(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .on_batch = take_batch, .batch_size = 3, .batch_timeout_ms = TEST_PATIENCE_MS, .type = &order_type});
    send_json(ORDER(1), NULL);
    send_json("no JSON", NULL);
    send_json(ORDER(2), NULL);
    send_json(ORDER(3), NULL);
    expect("batch: order 1");
    expect("batch: order 2");
    expect("batch: order 3");
    test_wait_for_depth(listening.dead, 1);
}

static coney_outcome fail_first(coney_delivery *delivery, void *user)
{
    static const void *first;
    atomic_int *calls = user;
    note_as("", delivery);
    if (atomic_fetch_add(calls, 1) > 0) {
        check(coney_delivery_payload(delivery) == first);
        return CONEY_ACK;
    }
    first = coney_delivery_payload(delivery);
    return CONEY_RETRY;
}

static void test_attempts_in_place_have_the_same_object(void **state)
{
    (void)state;
    const coney_listener_retry retry = {.max_attempts = 2, .first_delay_ms = 1};
    const coney_listener both[] = {{.type = &order_type}, {.type = NULL}};
    for (size_t i = 0; i < COUNT_OF(both); i++) {
        atomic_int calls = 0;
        coney_listener listener = both[i];
        listener.on_message = fail_first;
        listener.user = &calls;
        listener.retry = retry;
        listening_start(&listener);
        send_json(ORDER(1), NULL);
        expect(listener.type ? "order 1" : "JSON of 5");
        expect(listener.type ? "order 1" : "JSON of 5");
        listening_stop();
    }
}

static _Atomic(coney_delivery *) kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_store(&kept, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static const coney_listener *keep_with(const coney_type *type, coney_listener *listener)
{
    *listener = (coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .type = type};
    atomic_store(&kept, NULL);
    return listener;
}

static void settle_kept(void)
{
    assert_ok(coney_delivery_settle(atomic_load(&kept), CONEY_ACK));
    coney_delivery_unref(atomic_load(&kept));
    listening_expect_nothing_left();
}

static void test_kept_delivery_keeps_its_object(void **state)
{
    (void)state;
    coney_listener listener;
    listening_start(keep_with(&order_type, &listener));
    send_json(ORDER(9), NULL);
    test_wait_until(atomic_load(&kept));
    note_as("", atomic_load(&kept));
    expect("order 9");
    settle_kept();
}

static void *ask(void *user)
{
    (void)user;
    return coney_delivery_json(atomic_load(&kept));
}

static void test_threads_that_ask_at_the_same_time_get_the_same(void **state)
{
    (void)state;
    enum { THREADS = 4, ROUNDS = 20 };
    coney_listener listener;
    listening_start(keep_with(NULL, &listener));
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        void *got[THREADS];
        atomic_store(&kept, NULL);
        send_json(ORDER(9), NULL);
        test_wait_until(atomic_load(&kept));
        for (int i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], &got[i]);
        for (int i = 0; i < THREADS; i++)
            assert_ptr_equal(got[i], coney_delivery_payload(atomic_load(&kept)));
        assert_non_null(got[0]);
        if (round + 1 < ROUNDS) {
            assert_ok(coney_delivery_settle(atomic_load(&kept), CONEY_ACK));
            coney_delivery_unref(atomic_load(&kept));
        }
    }
    settle_kept();
}

/* ---- by content type ---- */

static void test_payload_without_a_converter_is_what_the_content_type_says(void **state)
{
    (void)state;
    static const struct {
        const char *content_type, *body, *note;
    } all[] = {
        {"text/plain", "hello", "text hello"},
        {"text/plain; charset=utf-8", "hello", "text hello"},
        {"text/xml", "<a/>", "text <a/>"},
        {"application/json", "{\"a\":1}", "JSON of 1"},
        {"application/vnd.shop+json", "{\"a\":1}", "JSON of 1"},
        {"text/x-json", "{\"a\":1}", "JSON of 1"},
        {"application/octet-stream", "{\"a\":1}", "bytes {\"a\":1}"},
        {"application/x-java-serialized-object", "x", "bytes x"},
        {NULL, "{\"a\":1}", "bytes {\"a\":1}"},
    };
    listening_start(&(coney_listener){.on_message = take});
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        send_as(all[i].body, all[i].content_type, NULL, NULL, NULL);
        expect(all[i].note);
    }
    listening_expect_nothing_left();
}

static void test_type_header_alone_changes_nothing(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take});
    send_json("{\"a\":1}", "shop.Order");
    expect("JSON of 1");
}

static coney_outcome unpack(coney_delivery *delivery, void *user)
{
    (void)user;
    int number = 0;
    check(json_unpack(coney_delivery_json(delivery), "{s:i}", "n", &number) == 0 && number == 4);
    note("", "unpacked");
    return CONEY_ACK;
}

static void test_json_can_be_unpacked_without_a_cast(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = unpack});
    send_json("{\"n\":4}", NULL);
    expect("unpacked");
}

static void test_coneys_converters_tell_their_content(void **state)
{
    (void)state;
    const struct {
        const coney_converter *converter;
        const char *note;
    } all[] = {{coney_json_converter(), "JSON of 1"},
               {coney_text_converter(), "text {\"a\":1}"},
               {coney_bytes_converter(), "bytes {\"a\":1}"}};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        listening_start(&(coney_listener){.on_message = take, .converter = all[i].converter});
        send_as("{\"a\":1}", "application/octet-stream", NULL, NULL, NULL);
        expect(all[i].note);
        listening_stop();
    }
}

/* ---- nothing is handed out in silence ---- */

static coney_outcome ask_in_vain(coney_delivery *delivery, void *user)
{
    const char *as = user;
    const void *got = strcmp(as, "json") == 0    ? coney_delivery_json(delivery)
                      : strcmp(as, "text") == 0  ? coney_delivery_text(delivery)
                      : strcmp(as, "order") == 0 ? coney_delivery_object(delivery, &order_type)
                                                 : coney_delivery_payload(delivery);
    check(!got);
    check(coney_last_error_details()->status == CONEY_E_CONVERSION);
    note("", coney_last_error());
    return CONEY_ACK;
}

/* The sentence is the handler's, and the line in the log is the operator's. */
static void expect_in_vain(const coney_listener *given, const char *as, const char *content_type, const char *words)
{
    coney_listener listener = *given;
    listener.on_message = ask_in_vain;
    listener.user = (void *)(uintptr_t)as;
    listening_start(&listener);
    send_as("{\"a\":1,", content_type, NULL, NULL, NULL);
    expect(words);
    test_log_expect(words);
    assert_true(test_log_has("error: listener 'listener': message "));
}

static void test_broken_json_is_told_to_who_asks(void **state)
{
    (void)state;
    expect_in_vain(&(coney_listener){0}, "payload", "application/json", "invalid JSON at line 1");
}

static void test_bytes_are_no_json(void **state)
{
    (void)state;
    expect_in_vain(&(coney_listener){0}, "json", "application/octet-stream",
                   "its payload is bytes (content type 'application/octet-stream'), not JSON");
}

static void test_text_is_no_json(void **state)
{
    (void)state;
    expect_in_vain(&(coney_listener){0}, "json", "text/plain", "a text (content type 'text/plain'), not JSON");
}

static void test_bytes_are_no_text(void **state)
{
    (void)state;
    expect_in_vain(&(coney_listener){.converter = coney_bytes_converter()}, "text", NULL,
                   "bytes (content type ''), not");
}

static void test_text_is_no_object(void **state)
{
    (void)state;
    expect_in_vain(&(coney_listener){.converter = coney_text_converter()}, "order", NULL,
                   "its payload is a text (content type ''), not an object");
}

static coney_outcome ask_for_another_object(coney_delivery *delivery, void *user)
{
    /* as a table in a header is in another file */
    static const coney_field none[] = {CONEY_FIELD(customer, name, CONEY_STRING),
                                       CONEY_FIELD(customer, mail, CONEY_STRING)};
    static const coney_type same = CONEY_TYPE("shop.Customer", customer, none);
    (void)user;
    check(coney_delivery_object(delivery, &same) == coney_delivery_payload(delivery));
    check(!coney_delivery_object(delivery, NULL));
    check(!coney_delivery_object(delivery, &order_type));
    note("", coney_last_error());
    check(!coney_delivery_json(delivery));
    note("", coney_last_error());
    return CONEY_ACK;
}

static void test_object_of_another_type_is_not_handed_out(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = ask_for_another_object, .type = &customer_type});
    send_json(CUSTOMER, NULL);
    expect("its payload is an object of type 'shop.Customer' of ");
    expect("its payload is an object (type 'shop.Customer'), not JSON");
    test_log_expect("not 'shop.Order' of ");
}

static coney_status to_nothing(coney_message **made, const void *object, const coney_properties *properties)
{
    (void)object;
    return coney_message_new(made, "", 0, properties);
}

static coney_status to_number(void **object, coney_message *message)
{
    static int number = 42;
    (void)message;
    *object = &number;
    return CONEY_OK;
}

static void free_nothing(void *object)
{
    (void)object;
}

static coney_outcome take_number(coney_delivery *delivery, void *user)
{
    (void)user;
    const int *number = coney_delivery_payload(delivery);
    check(number && *number == 42);
    check(!coney_delivery_content(delivery));
    note("", coney_last_error());
    return CONEY_ACK;
}

static void test_object_of_the_programs_converter_is_the_payload_only(void **state)
{
    (void)state;
    static const coney_converter converter = {"numbers", to_nothing, to_number, free_nothing};
    listening_start(&(coney_listener){.on_message = take_number, .converter = &converter});
    listening_send("x");
    expect("its payload is of converter 'numbers'; only coney_delivery_payload() gives it");
}

static coney_outcome look_at_failure(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                     void *user)
{
    (void)user;
    (void)error;
    check(!coney_delivery_payload(delivery));
    check(coney_last_error_details()->status == CONEY_E_STATE);
    check(!coney_delivery_type(delivery));
    note("", coney_last_error());
    return outcome;
}

static void test_error_handler_finds_no_payload_and_the_log_no_second_line(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = take, .type = &order_type, .on_error = look_at_failure});
    send_json("{}", NULL);
    expect("there is no payload: it was not converted");
    test_wait_for_depth(listening.dead, 1);
    listening_stop();
    assert_false(test_log_has("there is no payload"));
}

/* ---- replies ---- */

static coney_outcome reply_with_object(coney_delivery *delivery, void *user)
{
    const customer *asked = coney_delivery_object(delivery, &customer_type);
    coney_message *reply;
    check(asked != NULL);
    if (!user) {
        check(coney_delivery_reply_object(delivery, &customer_type, asked) == CONEY_OK);
        return CONEY_ACK;
    }
    check(coney_message_new_object(&reply, &customer_type, asked, NULL) == CONEY_OK);
    coney_delivery_set_reply(delivery, reply);
    return CONEY_ACK;
}

static void expect_reply_of(void *user)
{
    const char *replies = listening_make_other_queue("replies");
    listening_start(&(coney_listener){.on_message = reply_with_object, .user = user, .type = &customer_type});
    listening_send_with(CUSTOMER, &(coney_properties){.reply_to = replies, .correlation_id = "c-1"});
    test_wait_for_depth(replies, 1);
    amqp_message_t reply = plain_get(replies);
    plain_expect_header(&reply, "__TypeId__", "shop.Customer");
    plain_expect_text(reply.body, CUSTOMER);
    plain_expect_text(reply.properties.content_type, "application/json");
    plain_expect_text(reply.properties.correlation_id, "c-1");
    amqp_destroy_message(&reply);
}

static void test_object_is_sent_as_a_reply_with_its_type(void **state)
{
    (void)state;
    expect_reply_of(NULL);
}

static void test_message_of_an_object_is_left_as_a_reply(void **state)
{
    (void)state;
    expect_reply_of(&listening);
}

static coney_outcome reply_with_wrong_object(coney_delivery *delivery, void *user)
{
    (void)user;
    const customer nameless = {.name = NULL};
    check(coney_delivery_reply_object(delivery, &customer_type, &nameless) == CONEY_E_CONVERSION);
    note("", coney_last_error());
    check(coney_delivery_reply_object(delivery, NULL, &nameless) == CONEY_E_INVALID);
    check(coney_delivery_reply_object(delivery, &customer_type, NULL) == CONEY_E_INVALID);
    return CONEY_ACK;
}

static void test_wrong_object_is_no_reply(void **state)
{
    (void)state;
    const char *replies = listening_make_other_queue("replies");
    listening_start(&(coney_listener){.on_message = reply_with_wrong_object});
    listening_send_with("x", &(coney_properties){.reply_to = replies});
    expect("type 'shop.Customer': $.name: ");
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        typed_test(test_payload_is_the_struct_of_the_listener),
        typed_test(test_type_of_the_listener_wins_over_headers),
        typed_test(test_struct_is_read_without_a_content_type_and_of_octet_stream),
        typed_test(test_wrong_member_is_rejected_with_its_path),
        typed_test(test_text_is_no_struct),
        typed_test(test_empty_body_is_no_struct),
        typed_test(test_header_chooses_by_precedence),
        typed_test(test_message_without_a_name_has_the_listeners_type),
        typed_test(test_type_of_the_listener_is_known_without_types),
        typed_test(test_unknown_name_is_an_error_where_the_header_decides),
        typed_test(test_types_alone_let_the_header_choose),
        typed_test(test_default_handler_gets_other_names_by_content_type),
        typed_test(test_handlers_are_chosen_by_their_payload_types),
        typed_test(test_handler_of_another_name_reads_its_payload_type),
        typed_test(test_handler_of_a_list_is_chosen_by_its_elements),
        typed_test(test_handler_finds_its_type_among_those_of_the_listener),
        typed_test(test_handler_without_a_payload_of_its_own_has_the_listeners_type),
        typed_test(test_payload_type_wins_over_the_listeners_converter),
        typed_test(test_validator_gets_the_struct),
        typed_test(test_message_that_names_no_type_is_not_valid),
        typed_test(test_message_that_names_an_unknown_type_is_not_valid),
        typed_test(test_batch_has_structs),
        typed_test(test_attempts_in_place_have_the_same_object),
        typed_test(test_kept_delivery_keeps_its_object),
        typed_test(test_threads_that_ask_at_the_same_time_get_the_same),
        typed_test(test_payload_without_a_converter_is_what_the_content_type_says),
        typed_test(test_type_header_alone_changes_nothing),
        typed_test(test_json_can_be_unpacked_without_a_cast),
        typed_test(test_coneys_converters_tell_their_content),
        typed_test(test_broken_json_is_told_to_who_asks),
        typed_test(test_bytes_are_no_json),
        typed_test(test_text_is_no_json),
        typed_test(test_bytes_are_no_text),
        typed_test(test_text_is_no_object),
        typed_test(test_object_of_another_type_is_not_handed_out),
        typed_test(test_object_of_the_programs_converter_is_the_payload_only),
        typed_test(test_error_handler_finds_no_payload_and_the_log_no_second_line),
        typed_test(test_object_is_sent_as_a_reply_with_its_type),
        typed_test(test_message_of_an_object_is_left_as_a_reply),
        typed_test(test_wrong_object_is_no_reply),
    };
    return test_run_with_workers("typed listener", tests, test_client_setup, teardown);
}
