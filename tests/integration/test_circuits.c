/* SPDX-License-Identifier: MIT */
/* Circuits of requests: what opens them, what the program hears of that, and how probes close them again. */
#include "support/answering.h"

#include <pthread.h>
#include <stdio.h>

typedef struct change {
    coney_circuit_state state;
    coney_status reason; /* CONEY_OK: none */
    char code[64], text[300], exchange[64], routing_key[256];
} change;

static change changes[8];
static atomic_int change_count;

static void on_change(const char *exchange, const char *routing_key, coney_circuit_state state,
                      const coney_error *reason, void *user)
{
    int at = atomic_load(&change_count);
    check(user == &change_count && at < (int)COUNT_OF(changes));
    changes[at] = (change){.state = state, .reason = reason ? reason->status : CONEY_OK};
    if (reason) {
        snprintf(changes[at].text, sizeof changes[at].text, "%s", reason->text);
        snprintf(changes[at].code, sizeof changes[at].code, "%s", reason->remote_code ? reason->remote_code : "none");
    }
    snprintf(changes[at].exchange, sizeof changes[at].exchange, "%s", exchange);
    snprintf(changes[at].routing_key, sizeof changes[at].routing_key, "%s", routing_key);
    atomic_store(&change_count, at + 1);
}

static int setup(void **state)
{
    atomic_store(&change_count, 0);
    return answering_setup(state);
}

#define circuit_test(function) cmocka_unit_test_setup_teardown(function, setup, answering_teardown)

/* Two failures open the circuit. */
static void use_circuit(int open_ms)
{
    answering_use(&(coney_rpc_options){
        .circuit = {.max_failures = 2, .open_ms = open_ms, .on_change = on_change, .user = &change_count}});
}

static void open_circuit(void)
{
    for (int i = 0; i < 2; i++)
        assert_int_equal(answering_status("error BUSY", 0), CONEY_E_REMOTE_ERROR);
}

static coney_circuit_state state_now(void)
{
    coney_circuit_state state;
    assert_ok(coney_template_circuit(asker, NULL, NULL, &state));
    return state;
}

/* The open circuit lets a probe through some time from now. */
static void wait_for_probe(const char *text)
{
    test_wait_until(answering_status(text, 0) != CONEY_E_CIRCUIT_OPEN);
}

/* ---- opening ---- */

static void test_failures_open_the_circuit_and_nothing_is_sent(void **state)
{
    (void)state;
    use_circuit(60000);
    open_circuit();
    assert_int_equal(state_now(), CONEY_CIRCUIT_OPEN);
    assert_fails(answering_status("echo x", 0), CONEY_E_CIRCUIT_OPEN, "never sent: the circuit is open");
    assert_non_null(strstr(coney_last_error(), "BUSY"));
    assert_true(coney_last_error_details()->retriable);
    assert_int_equal(atomic_load(&answering_seen), 2);
    coney_rpc_statistics statistics = answering_statistics();
    assert_int_equal(statistics.sent, 2);
    assert_int_equal(statistics.circuit_refused, 1);
    assert_int_equal(statistics.circuits_opened, 1);
    assert_int_equal(statistics.circuits_open, 1);
}

static void test_program_hears_which_error_opened_the_circuit(void **state)
{
    (void)state;
    use_circuit(60000);
    open_circuit();
    test_wait_for(&change_count, 1);
    assert_int_equal(changes[0].state, CONEY_CIRCUIT_OPEN);
    assert_int_equal(changes[0].reason, CONEY_E_REMOTE_ERROR);
    assert_string_equal(changes[0].code, "BUSY");
    assert_non_null(strstr(changes[0].text, "as asked for"));
    assert_string_equal(changes[0].exchange, "");
    assert_string_equal(changes[0].routing_key, listening.queue);
}

static void test_success_between_failures_keeps_the_circuit_closed(void **state)
{
    (void)state;
    use_circuit(60000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(answering_status("error BUSY", 0), CONEY_E_REMOTE_ERROR);
        assert_string_equal(answering_ask("echo x", 0), "x");
    }
    assert_int_equal(state_now(), CONEY_CIRCUIT_CLOSED);
}

static void test_circuit_of_another_routing_key_stays_closed(void **state)
{
    (void)state;
    use_circuit(60000);
    open_circuit();
    coney_message *request = test_text("echo x"), *reply;
    assert_fails(coney_template_send_and_receive(asker, &reply, test_name("nobody"), request, NULL), CONEY_E_RETURNED,
                 "nobody");
    coney_message_unref(request);
}

static bool is_slow(const coney_error *error, void *user)
{
    check(user == &change_count);
    return error->status == CONEY_E_TIMEOUT;
}

static void test_program_decides_what_is_a_failure(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.circuit = {.max_failures = 1, .is_failure = is_slow, .user = &change_count}});
    open_circuit();
    assert_int_equal(state_now(), CONEY_CIRCUIT_CLOSED);
    assert_int_equal(answering_status("nothing", 100), CONEY_E_TIMEOUT);
    assert_int_equal(state_now(), CONEY_CIRCUIT_OPEN);
}

/* ---- probes ---- */

static void test_probe_closes_the_circuit(void **state)
{
    (void)state;
    use_circuit(1);
    open_circuit();
    wait_for_probe("echo probe");
    assert_int_equal(state_now(), CONEY_CIRCUIT_CLOSED);
    test_wait_for(&change_count, 3);
    assert_int_equal(changes[1].state, CONEY_CIRCUIT_HALF_OPEN);
    assert_int_equal(changes[2].state, CONEY_CIRCUIT_CLOSED);
    assert_int_equal(changes[2].reason, CONEY_OK);
    assert_int_equal(answering_statistics().circuits_open, 0);
}

static void test_probe_that_fails_opens_the_circuit_again(void **state)
{
    (void)state;
    use_circuit(1);
    open_circuit();
    wait_for_probe("error STILL_BUSY");
    test_wait_for(&change_count, 3);
    assert_int_equal(changes[2].state, CONEY_CIRCUIT_OPEN);
    assert_string_equal(changes[2].code, "STILL_BUSY");
    assert_int_equal(answering_statistics().circuits_opened, 2);
}

static void test_cancelled_probe_makes_room_for_another(void **state)
{
    (void)state;
    use_circuit(1);
    open_circuit();
    wait_for_probe("error BUSY");
    coney_message *message = test_text("hold");
    coney_request *probe = NULL;
    test_wait_until(coney_template_begin_request(asker, &probe, NULL, message, NULL) != CONEY_E_CIRCUIT_OPEN);
    assert_fails(answering_status("echo x", 0), CONEY_E_CIRCUIT_OPEN, "half open");
    coney_request_cancel(probe);
    wait_for_probe("echo x");
    assert_int_equal(state_now(), CONEY_CIRCUIT_CLOSED);
    coney_request_free(probe);
    coney_message_unref(message);
}

/* ---- requests that nobody waits for ---- */

static void test_handles_count_before_anybody_looks_at_them(void **state)
{
    (void)state;
    use_circuit(60000);
    coney_request *requests[2];
    for (int i = 0; i < 2; i++)
        requests[i] = answering_begin("error BUSY", 0);
    test_wait_for(&change_count, 1);
    assert_int_equal(state_now(), CONEY_CIRCUIT_OPEN);
    for (int i = 0; i < 2; i++) {
        assert_fails(coney_request_wait(requests[i], TEST_PATIENCE_MS), CONEY_E_REMOTE_ERROR, "BUSY");
        coney_request_free(requests[i]);
    }
}

static atomic_int is_slow_to_hear;

static void hear_slowly(const char *exchange, const char *routing_key, coney_circuit_state state,
                        const coney_error *reason, void *user)
{
    (void)exchange, (void)routing_key, (void)state, (void)reason, (void)user;
    atomic_store(&is_slow_to_hear, 1);
    test_wait_for(&is_slow_to_hear, 2);
    atomic_store(&is_slow_to_hear, 3);
}

static void *let_it_hear(void *unused)
{
    (void)unused;
    atomic_store(&is_slow_to_hear, 2);
    return NULL;
}

static void test_template_is_freed_after_its_listener_has_returned(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&is_slow_to_hear, 0);
    answering_use(&(coney_rpc_options){.circuit = {.max_failures = 2, .on_change = hear_slowly}});
    open_circuit();
    test_wait_for(&is_slow_to_hear, 1);
    assert_int_equal(pthread_create(&thread, NULL, let_it_hear, NULL), 0);
    coney_template_free(asker);
    asker = NULL;
    assert_int_equal(atomic_load(&is_slow_to_hear), 3);
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        circuit_test(test_failures_open_the_circuit_and_nothing_is_sent),
        circuit_test(test_program_hears_which_error_opened_the_circuit),
        circuit_test(test_success_between_failures_keeps_the_circuit_closed),
        circuit_test(test_circuit_of_another_routing_key_stays_closed),
        circuit_test(test_program_decides_what_is_a_failure),
        circuit_test(test_probe_closes_the_circuit),
        circuit_test(test_probe_that_fails_opens_the_circuit_again),
        circuit_test(test_cancelled_probe_makes_room_for_another),
        circuit_test(test_handles_count_before_anybody_looks_at_them),
        circuit_test(test_template_is_freed_after_its_listener_has_returned),
    };
    return cmocka_run_group_tests_name("circuits", tests, test_client_setup, test_client_teardown);
}
