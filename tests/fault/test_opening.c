/* SPDX-License-Identifier: MIT */
/* AMQP's opening, step by step: what Coney says of itself, what it makes of the broker's offers and
 * limits, and a broker that ends it at any stage. */
#include "support/fault_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { LONG_MS = 10000 };

/* --- what we say --- */

static bool is_text(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

static const amqp_field_value_t *entry_of(const amqp_table_t *table, const char *key)
{
    const amqp_field_value_t *found = NULL;
    for (int i = 0; i < table->num_entries; i++) {
        if (is_text(table->entries[i].key, key))
            found = found ? NULL : &table->entries[i].value; /* twice is as bad as never */
    }
    return found;
}

static void look_at_start_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    const amqp_connection_start_ok_t *start_ok = method->args;
    const amqp_table_t *properties = &start_ok->client_properties;
    static const char response[] = "\0guest\0guest";
    cny_peer_check(peer, is_text(start_ok->mechanism, "PLAIN"));
    cny_peer_check(peer, start_ok->response.len == sizeof response - 1 &&
                             memcmp(start_ok->response.bytes, response, sizeof response - 1) == 0);
    static const char *const texts[][2] = {{"product", "Shop"}, {"platform", "C"}, {"team", "orders"}};
    for (int i = 0; i < 3; i++) {
        const amqp_field_value_t *value = entry_of(properties, texts[i][0]);
        cny_peer_check(peer, value && is_text(value->value.bytes, texts[i][1]));
    }
    const amqp_field_value_t *capabilities = entry_of(properties, "capabilities");
    cny_peer_check(peer, capabilities && capabilities->kind == AMQP_FIELD_KIND_TABLE);
    cny_peer_check(peer, entry_of(&capabilities->value.table, "connection.blocked"));
    cny_peer_answer(peer, method);
}

static void test_programs_properties_go_beside_ours_and_win_but_for_capabilities(void **state)
{
    (void)state;
    coney_table *properties = coney_table_new();
    coney_table_set_string(properties, "product", "Shop");
    coney_table_set_string(properties, "team", "orders");
    coney_table_set_string(properties, "capabilities", "none");
    fault_start(look_at_start_ok, &(coney_connection_factory_options){.client_properties = properties});
    coney_table_free(properties); /* the factory has a copy */
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    cny_broker_wait(fault.broker, 2);
}

/* What the connection must be called; that it is for the method that follows is what the name promises. */
typedef struct expected_name {
    const char *name;
    amqp_method_number_t id;
} expected_name;

static void look_at_the_name(cny_peer *peer, void *user)
{
    const expected_name *expected = user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    const amqp_connection_start_ok_t *start_ok = method->args;
    const amqp_field_value_t *name = entry_of(&start_ok->client_properties, "connection_name");
    cny_peer_check(peer, name && name->kind == AMQP_FIELD_KIND_UTF8);
    if (!is_text(name->value.bytes, expected->name))
        cny_peer_fail(peer, "the connection's name is %.*s, not %s", (int)name->value.bytes.len,
                      (char *)name->value.bytes.bytes, expected->name);
    cny_peer_answer(peer, method);
    cny_peer_answer(peer, cny_peer_serve_until(peer, expected->id));
}

static void start_expecting(expected_name *expected, const char *connection_name)
{
    fault_start_with(&(cny_broker_options){.script = look_at_the_name, .user = expected},
                     &(coney_connection_factory_options){.connection_name = connection_name});
}

static void expect_consuming_name(const char *connection_name, const char *name)
{
    expected_name expected = {name, AMQP_QUEUE_DECLARE_METHOD};
    start_expecting(&expected, connection_name);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
}

static void expect_publishing_name(const char *connection_name, const char *name)
{
    expected_name expected = {name, AMQP_BASIC_PUBLISH_METHOD};
    start_expecting(&expected, connection_name);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_wait(fault.broker, 1);
}

static const char *default_name(const char *suffix)
{
    static char name[300];
    char host[200];
    assert_int_equal(gethostname(host, sizeof host), 0);
    snprintf(name, sizeof name, "%s@%s#%ld%s", program_invocation_short_name, host, (long)getpid(), suffix);
    return name;
}

static void test_consuming_connection_is_called_program_at_host_and_pid(void **state)
{
    (void)state;
    expect_consuming_name(NULL, default_name(""));
}

static void test_publishing_connection_has_that_name_and_a_suffix(void **state)
{
    (void)state;
    expect_publishing_name(NULL, default_name(".publisher"));
}

static void test_consuming_connection_has_the_programs_name_for_it(void **state)
{
    (void)state;
    expect_consuming_name("shop 7", "shop 7");
}

static void test_publishing_connection_has_the_programs_name_for_it_and_a_suffix(void **state)
{
    (void)state;
    expect_publishing_name("shop 7", "shop 7.publisher");
}

/* --- what the broker says --- */

static void offer_no_password(cny_peer *peer, void *user)
{
    (void)user;
    amqp_connection_start_t begin = {.version_minor = 9, .mechanisms = amqp_cstring_bytes("PLAINER GSSAPI")};
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_send(peer, 0, AMQP_CONNECTION_START_METHOD, &begin);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void ask_again(cny_peer *peer, void *user)
{
    (void)user;
    amqp_connection_secure_t secure = {amqp_cstring_bytes("and your mother's name?")};
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_send(peer, 0, AMQP_CONNECTION_SECURE_METHOD, &secure);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void expect_protocol_error(cny_script *script, const char *text)
{
    fault_start(script, NULL);
    fault_expect_status(CONEY_E_PROTOCOL, coney_connection_factory_connect(fault.factory));
    fault_expect_text(text);
}

static void test_missing_mechanism_is_told_with_those_offered(void **state)
{
    (void)state;
    expect_protocol_error(offer_no_password, "does not offer the SASL mechanism PLAIN; it offers PLAINER GSSAPI");
}

static void test_second_question_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error(ask_again, "connection.secure");
}

static void tune(cny_peer *peer, uint16_t channel_max, uint32_t frame_max)
{
    amqp_connection_tune_t limits = {channel_max, frame_max, 0};
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_send_frame(peer, AMQP_FRAME_HEARTBEAT, 0, "", 0); /* may come at any time */
    cny_peer_send(peer, 0, AMQP_CONNECTION_TUNE_METHOD, &limits);
}

static void set_no_limits(cny_peer *peer, void *user)
{
    (void)user;
    tune(peer, 0, 0);
    const amqp_connection_tune_ok_t *agreed = cny_peer_expect(peer, AMQP_CONNECTION_TUNE_OK_METHOD)->args;
    cny_peer_check(peer, agreed->channel_max == 2047 && agreed->frame_max == 131072 && agreed->heartbeat == 10);
}

static void test_broker_without_limits_gets_ours(void **state)
{
    (void)state;
    fault_start(set_no_limits, NULL);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    cny_broker_wait(fault.broker, 2);
}

static void set_tiny_frames(cny_peer *peer, void *user)
{
    (void)user;
    tune(peer, 1, 100);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void test_frames_smaller_than_amqp_needs_are_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error(set_tiny_frames, "wants frames of at most 100 bytes");
}

static void speak_tls(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_send_bytes(peer, "\x15\3\3\0\2\2\x46", 7); /* fatal alert: protocol version */
    cny_peer_hang_up(peer);
}

static void test_peer_that_speaks_tls_is_a_protocol_error_that_says_so(void **state)
{
    (void)state;
    expect_protocol_error(speak_tls, "amqps://");
}

/* --- the end at any stage --- */

static void refuse_at_the_greeting(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_check(peer, cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - going down"));
}

static void refuse_the_tuning(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_TUNE_OK_METHOD);
    cny_peer_check(peer, cny_peer_close_connection(peer, 530, "NOT_ALLOWED - frame_max is too low"));
}

static void expect_refusal(cny_script *script, coney_status status, int code, const char *text)
{
    /* One attempt for each connection, so that two scripts are those of both. */
    fault_start(script, &(coney_connection_factory_options){.recovery = {.first_delay_ms = 20, .max_attempts = 1}});
    fault_expect_status(status, coney_connection_factory_connect(fault.factory));
    assert_int_equal(coney_last_error_details()->broker_code, code);
    fault_expect_text(text);
    cny_broker_wait(fault.broker, 2); /* that of the other connection is cut off otherwise */
}

static void test_close_instead_of_a_greeting_is_told_and_answered(void **state)
{
    (void)state;
    expect_refusal(refuse_at_the_greeting, CONEY_E_LOST, 320, "going down");
}

static void test_close_at_the_tuning_is_told(void **state)
{
    (void)state;
    expect_refusal(refuse_the_tuning, CONEY_E_NOT_ALLOWED, 530, "frame_max is too low");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_close_instead_of_a_greeting_is_told_and_answered),
        fault_test(test_close_at_the_tuning_is_told),
        fault_test(test_programs_properties_go_beside_ours_and_win_but_for_capabilities),
        fault_test(test_consuming_connection_is_called_program_at_host_and_pid),
        fault_test(test_publishing_connection_has_that_name_and_a_suffix),
        fault_test(test_consuming_connection_has_the_programs_name_for_it),
        fault_test(test_publishing_connection_has_the_programs_name_for_it_and_a_suffix),
        fault_test(test_missing_mechanism_is_told_with_those_offered),
        fault_test(test_second_question_is_a_protocol_error),
        fault_test(test_broker_without_limits_gets_ours),
        fault_test(test_frames_smaller_than_amqp_needs_are_a_protocol_error),
        fault_test(test_peer_that_speaks_tls_is_a_protocol_error_that_says_so),
    };
    return cmocka_run_group_tests_name("opening", tests, NULL, NULL);
}
