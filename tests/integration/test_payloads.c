/* SPDX-License-Identifier: MIT */
/* How long a payload lives, what it is without a type or converter, what a handler is told that asks for what is not
 * there, and objects as replies. */
#include "support/payloads.h"
#include "support/plain_client.h"

#include <pthread.h>
#include <stdio.h>

/* ---- how long it lives ---- */

static void take_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = payloads_note_as("batch: ", deliveries[i]);
}

static void test_batch_has_structs(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .on_batch = take_batch, .batch_size = 3, .batch_timeout_ms = TEST_PATIENCE_MS, .type = &order_type});
    payloads_send_json(ORDER(1), NULL);
    payloads_send_json("no JSON", NULL);
    payloads_send_json(ORDER(2), NULL);
    payloads_send_json(ORDER(3), NULL);
    payloads_expect("batch: order 1");
    payloads_expect("batch: order 2");
    payloads_expect("batch: order 3");
    test_wait_for_depth(listening.dead, 1);
}

static coney_outcome fail_first(coney_delivery *delivery, void *user)
{
    static const void *first;
    atomic_int *calls = user;
    payloads_note_as("", delivery);
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
        payloads_send_json(ORDER(1), NULL);
        payloads_expect(listener.type ? "order 1" : "JSON of 5");
        payloads_expect(listener.type ? "order 1" : "JSON of 5");
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
    payloads_send_json(ORDER(9), NULL);
    test_wait_until(atomic_load(&kept));
    payloads_note_as("", atomic_load(&kept));
    payloads_expect("order 9");
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
        payloads_send_json(ORDER(9), NULL);
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
    listening_start(&(coney_listener){.on_message = payloads_take});
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        payloads_send_as(all[i].body, all[i].content_type, NULL, NULL, NULL);
        payloads_expect(all[i].note);
    }
    listening_expect_nothing_left();
}

static void test_type_header_alone_changes_nothing(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take});
    payloads_send_json("{\"a\":1}", "shop.Order");
    payloads_expect("JSON of 1");
}

static coney_outcome unpack(coney_delivery *delivery, void *user)
{
    (void)user;
    int number = 0;
    check(json_unpack(coney_delivery_json(delivery), "{s:i}", "n", &number) == 0 && number == 4);
    payloads_note("", "unpacked");
    return CONEY_ACK;
}

static void test_json_can_be_unpacked_without_a_cast(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = unpack});
    payloads_send_json("{\"n\":4}", NULL);
    payloads_expect("unpacked");
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
        listening_start(&(coney_listener){.on_message = payloads_take, .converter = all[i].converter});
        payloads_send_as("{\"a\":1}", "application/octet-stream", NULL, NULL, NULL);
        payloads_expect(all[i].note);
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
    payloads_note("", coney_last_error());
    return CONEY_ACK;
}

/* The sentence is the handler's, and the line in the log is the operator's. */
static void expect_in_vain(const coney_listener *given, const char *as, const char *content_type, const char *words)
{
    coney_listener listener = *given;
    listener.on_message = ask_in_vain;
    listener.user = (void *)(uintptr_t)as;
    listening_start(&listener);
    payloads_send_as("{\"a\":1,", content_type, NULL, NULL, NULL);
    payloads_expect(words);
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
    payloads_note("", coney_last_error());
    check(!coney_delivery_json(delivery));
    payloads_note("", coney_last_error());
    return CONEY_ACK;
}

static void test_object_of_another_type_is_not_handed_out(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = ask_for_another_object, .type = &customer_type});
    payloads_send_json(CUSTOMER, NULL);
    payloads_expect("its payload is an object of type 'shop.Customer' of ");
    payloads_expect("its payload is an object (type 'shop.Customer'), not JSON");
    test_log_expect("not 'shop.Order' of ");
}

static const coney_type customers_type = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(customer_type));

static coney_outcome ask_for_another_list(coney_delivery *delivery, void *user)
{
    static const coney_type same = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRUCT(customer_type));
    static const coney_type texts = CONEY_LIST_TYPE("java.util.ArrayList", CONEY_STRING);
    (void)user;
    check(coney_delivery_object(delivery, &same) == coney_delivery_payload(delivery));
    check(!coney_delivery_object(delivery, &texts));
    check(!coney_delivery_object(delivery, &orders_type));
    payloads_note("", coney_last_error());
    return CONEY_ACK;
}

/* All lists have the id of the same Java class. */
static void test_list_of_other_elements_is_not_handed_out(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = ask_for_another_list, .type = &customers_type});
    payloads_send_json("[" CUSTOMER "]", NULL);
    payloads_expect(" with elements 'shop.Order' of ");
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
    payloads_note("", coney_last_error());
    return CONEY_ACK;
}

static void test_object_of_the_programs_converter_is_the_payload_only(void **state)
{
    (void)state;
    static const coney_converter converter = {"numbers", to_nothing, to_number, free_nothing};
    listening_start(&(coney_listener){.on_message = take_number, .converter = &converter});
    listening_send("x");
    payloads_expect("its payload is of converter 'numbers'; only coney_delivery_payload() gives it");
}

static coney_outcome look_at_failure(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                     void *user)
{
    (void)user;
    (void)error;
    check(!coney_delivery_payload(delivery));
    check(coney_last_error_details()->status == CONEY_E_STATE);
    check(!coney_delivery_type(delivery));
    payloads_note("", coney_last_error());
    return outcome;
}

static void test_error_handler_finds_no_payload_and_the_log_no_second_line(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = payloads_take, .type = &order_type, .on_error = look_at_failure});
    payloads_send_json("{}", NULL);
    payloads_expect("there is no payload: it was not converted");
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
    payloads_note("", coney_last_error());
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
    payloads_expect("type 'shop.Customer': $.name: ");
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        payloads_test(test_batch_has_structs),
        payloads_test(test_attempts_in_place_have_the_same_object),
        payloads_test(test_kept_delivery_keeps_its_object),
        payloads_test(test_threads_that_ask_at_the_same_time_get_the_same),
        payloads_test(test_payload_without_a_converter_is_what_the_content_type_says),
        payloads_test(test_type_header_alone_changes_nothing),
        payloads_test(test_json_can_be_unpacked_without_a_cast),
        payloads_test(test_coneys_converters_tell_their_content),
        payloads_test(test_broken_json_is_told_to_who_asks),
        payloads_test(test_bytes_are_no_json),
        payloads_test(test_text_is_no_json),
        payloads_test(test_bytes_are_no_text),
        payloads_test(test_text_is_no_object),
        payloads_test(test_object_of_another_type_is_not_handed_out),
        payloads_test(test_list_of_other_elements_is_not_handed_out),
        payloads_test(test_object_of_the_programs_converter_is_the_payload_only),
        payloads_test(test_error_handler_finds_no_payload_and_the_log_no_second_line),
        payloads_test(test_object_is_sent_as_a_reply_with_its_type),
        payloads_test(test_message_of_an_object_is_left_as_a_reply),
        payloads_test(test_wrong_object_is_no_reply),
    };
    return test_run_with_workers("payloads", tests, test_client_setup, payloads_teardown);
}
