/* SPDX-License-Identifier: MIT */
/* Messages that Coney itself would not send, for other clients do: none is lost, and none goes round for ever. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>

/* ---- parking ---- */

static void send_with_header(amqp_table_entry_t *header)
{
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG,
                                          .headers = {.num_entries = 1, .entries = header}};
    plain_publish("", listening.queue, &properties, "fail");
}

static void park_what_fails(void)
{
    listening_other_queue("parking");
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_PARK}});
}

static void expect_parked(void)
{
    char parking[300];
    snprintf(parking, sizeof parking, "%s.parking", listening.queue);
    test_wait_for_depth(parking, 1);
    assert_int_equal(listening.count, 1);
}

static void test_parks_header_that_is_not_utf8(void **state)
{
    (void)state;
    park_what_fails();
    send_with_header(
        &(amqp_table_entry_t){.key = amqp_cstring_bytes("city"),
                              .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("Z\xfcrich")}});
    expect_parked();
}

static void test_parks_header_with_a_date_before_1970(void **state)
{
    (void)state;
    park_what_fails();
    send_with_header(&(amqp_table_entry_t){.key = amqp_cstring_bytes("born"),
                                           .value = {.kind = AMQP_FIELD_KIND_TIMESTAMP, .value.u64 = (uint64_t)-5}});
    expect_parked();
}

static void test_parks_message_with_a_binary_correlation_id(void **state)
{
    (void)state;
    park_what_fails();
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG,
                                          .correlation_id = amqp_cstring_bytes("\x9c\xff\x01")};
    plain_publish("", listening.queue, &properties, "fail");
    expect_parked();
}

static void test_parks_message_whose_routing_key_is_not_utf8(void **state)
{
    (void)state;
    static const char key[] = "bestellung.gepr\xfc"
                              "ft";
    coney_binding binding = {.exchange = "amq.fanout", .destination = listening.queue};
    assert_ok(coney_admin_declare_binding(client.admin, &binding));
    park_what_fails();
    amqp_basic_properties_t properties = {0};
    plain_publish("amq.fanout", key, &properties, "fail");
    expect_parked();
}

static coney_outcome retry_all(coney_delivery *delivery, const coney_error *error, coney_outcome outcome, void *user)
{
    (void)delivery;
    (void)error;
    (void)outcome;
    (void)user;
    return CONEY_RETRY;
}

/* What was not kept cannot be sent on: the broker has it whole. */
static void test_body_that_is_too_large_goes_to_the_dead_letters_instead(void **state)
{
    (void)state;
    const coney_connection_factory_options small = {.max_message_bytes = 4};
    coney_connection_factory *usual = client.factory, *own;
    listening_other_queue("parking");
    assert_ok(coney_connection_factory_new(&own, test_uri(), &small));
    client.factory = own;
    listening_start(&(coney_listener){.on_error = retry_all, .retry = {.exhausted = CONEY_EXHAUSTED_PARK}});
    client.factory = usual;
    listening_send("0123456789");
    test_wait_until(listening_statistics().acknowledged + listening_statistics().rejected == 1);
    listening_stop();
    coney_connection_factory_free(own);
    amqp_message_t kept = plain_get(listening.dead);
    plain_expect_text(kept.body, "0123456789");
    amqp_destroy_message(&kept);
}

/* ---- requests ---- */

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *reply;
    listening_note(delivery);
    check(coney_message_new(&reply, "the answer", 10, NULL) == CONEY_OK);
    coney_delivery_set_reply(delivery, reply);
    return CONEY_ACK;
}

static void test_answers_request_with_a_binary_correlation_id(void **state)
{
    (void)state;
    const char *answers = listening_make_other_queue("answers");
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_REPLY_TO_FLAG,
                                          .reply_to = amqp_cstring_bytes(answers),
                                          .correlation_id = amqp_cstring_bytes("\x9c\xff\x01")};
    listening_start(&(coney_listener){.on_message = answer});
    plain_publish("", listening.queue, &properties, "question");
    test_wait_for_depth(answers, 1);
    assert_int_equal(listening.count, 1);
}

/* The channel may be lost for it once, and the transaction with it, but not again and again. */
static void test_request_that_names_no_exchange_does_not_end_a_transacted_listener_again_and_again(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer, .transacted = true});
    listening_send_with("question", &(coney_properties){.reply_to = "no-such-exchange/key"});
    test_wait_until(listening_statistics().acknowledged >= 1 && listening_statistics().in_progress == 0 &&
                    listening.count >= 2);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    assert_int_equal(listening.count, 2);
}

/* ---- counts and ids that tell nothing ---- */

static void test_stateful_retry_does_not_trust_a_count_that_somebody_sent(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_int64(headers, "x-delivery-count", 1));
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 4}});
    listening_send_with("fail", &(coney_properties){.message_id = "m-1", .headers = headers});
    coney_table_free(headers);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 4);
}

static void test_empty_message_id_is_none(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    listening_send_with("fail:a", &(coney_properties){.message_id = ""});
    listening_send_with("fail:b", &(coney_properties){.message_id = ""});
    listening_send_with("ack:c", &(coney_properties){.message_id = ""});
    test_wait_for_depth(listening.dead, 2);
    assert_int_equal(listening_calls_of("fail:a"), 2);
    assert_int_equal(listening_calls_of("fail:b"), 2);
}

/* ---- headers that cannot be read ---- */

enum { LEVELS = 120 };

static amqp_table_entry_t table_entry(const char *name, amqp_table_entry_t *entries, int count)
{
    return (amqp_table_entry_t){
        .key = amqp_cstring_bytes(name),
        .value = {.kind = AMQP_FIELD_KIND_TABLE, .value.table = {.num_entries = count, .entries = entries}}};
}

/* A header with so many levels. */
static amqp_table_entry_t too_deep(void)
{
    static amqp_table_entry_t entries[LEVELS];
    for (int i = 0; i < LEVELS; i++)
        entries[i] = table_entry("x", &entries[i + 1], i + 1 < LEVELS);
    return entries[0];
}

static void send_dead_letters_back_soon(void)
{
    const coney_queue dead = {.name = listening.dead,
                              .message_ttl_ms = 20,
                              .dead_letter_exchange = "",
                              .dead_letter_routing_key = listening.queue};
    test_delete_queue(listening.dead);
    assert_ok(coney_admin_declare_queue(client.admin, &dead, NULL));
}

/* Rejected, then dropped: the headers that can be read tell that it has come back. */
static void expect_dropped(void)
{
    test_wait_until(listening_statistics().discarded == 1);
    assert_int_equal(listening_statistics().fatal, 2);
}

static void send_round(amqp_table_entry_t header)
{
    send_dead_letters_back_soon();
    listening_start(&(coney_listener){0});
    send_with_header(&header);
}

static void test_message_with_headers_too_deep_does_not_go_round_for_ever(void **state)
{
    (void)state;
    send_round(too_deep());
    expect_dropped();
}

/* RabbitMQ 3.10 leaves it where it is, and adds its own. Later releases replace it, and then the message can be
 * handled. */
static void test_message_with_a_death_too_deep_does_not_go_round_for_ever(void **state)
{
    (void)state;
    amqp_table_entry_t death[] = {{.key = amqp_cstring_bytes("queue"),
                                   .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("q")}},
                                  too_deep()};
    amqp_field_value_t deaths = table_entry("", death, COUNT_OF(death)).value;
    send_round((amqp_table_entry_t){
        .key = amqp_cstring_bytes("x-death"),
        .value = {.kind = AMQP_FIELD_KIND_ARRAY, .value.array = {.num_entries = 1, .entries = &deaths}}});
    if (plain_broker_is_from(4, 0))
        listening_wait_for_calls(1);
    else
        expect_dropped();
}

static void test_message_with_headers_too_deep_keeps_its_other_properties(void **state)
{
    (void)state;
    amqp_table_entry_t header = too_deep();
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG,
                                          .headers = {.num_entries = 1, .entries = &header},
                                          .message_id = amqp_cstring_bytes("m-1")};
    listening_start(&(coney_listener){0});
    plain_publish("", listening.queue, &properties, "deep");
    listening_wait_for_event_about(CONEY_MESSAGE_REJECTED, "m-1", "its headers are nested too deep");
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_parks_header_that_is_not_utf8),
        listening_test(test_parks_header_with_a_date_before_1970),
        listening_test(test_parks_message_with_a_binary_correlation_id),
        listening_test(test_parks_message_whose_routing_key_is_not_utf8),
        listening_test(test_body_that_is_too_large_goes_to_the_dead_letters_instead),
        listening_test(test_answers_request_with_a_binary_correlation_id),
        listening_test(test_request_that_names_no_exchange_does_not_end_a_transacted_listener_again_and_again),
        listening_test(test_stateful_retry_does_not_trust_a_count_that_somebody_sent),
        listening_test(test_empty_message_id_is_none),
        listening_test(test_message_with_headers_too_deep_does_not_go_round_for_ever),
        listening_test(test_message_with_a_death_too_deep_does_not_go_round_for_ever),
        listening_test(test_message_with_headers_too_deep_keeps_its_other_properties),
    };
    return test_run_with_workers("odd messages", tests, test_client_setup, teardown);
}
