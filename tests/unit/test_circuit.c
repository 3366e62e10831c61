/* SPDX-License-Identifier: MIT */
/* The states of circuits, at times that the tests choose. */
#include "support/test_support.h"

#include "rabbit/rpc/circuit.h"

#include <stdio.h>

static cny_circuits circuits;
static cny_error *failure;

static const coney_circuit_options options = {.max_failures = 3, .open_ms = 1000, .probes = 2};

static int setup(void **state)
{
    (void)state;
    circuits = (cny_circuits){.options = &options};
    failure = cny_error_new(CONEY_E_TIMEOUT, 0, "no reply");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_circuits_free(&circuits);
    cny_error_unref(failure);
    return 0;
}

static bool admit(const char *key, int64_t now, cny_ticket *ticket)
{
    bool changed;
    return cny_circuits_admit(&circuits, "shop", key, now, ticket, &changed) == CONEY_OK;
}

static bool note(cny_ticket *ticket, cny_circuit_outcome outcome, int64_t now)
{
    coney_circuit_state state;
    return cny_circuits_note(&circuits, ticket, outcome, outcome == CNY_CIRCUIT_FAILURE ? failure : NULL, now, &state);
}

static coney_circuit_state state_of(const char *key)
{
    return cny_circuits_state(&circuits, "shop", key);
}

/* True if the request was admitted. */
static bool ask(const char *key, cny_circuit_outcome outcome, int64_t now)
{
    cny_ticket ticket;
    bool admitted = admit(key, now, &ticket);
    if (admitted)
        note(&ticket, outcome, now);
    return admitted;
}

static void open_circuit(int64_t now)
{
    for (int i = 0; i < 3; i++)
        assert_true(ask("a", CNY_CIRCUIT_FAILURE, now));
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_OPEN);
}

static void test_failures_one_after_another_open_it(void **state)
{
    (void)state;
    ask("a", CNY_CIRCUIT_FAILURE, 0);
    ask("a", CNY_CIRCUIT_FAILURE, 0);
    ask("a", CNY_CIRCUIT_SUCCESS, 0);
    ask("a", CNY_CIRCUIT_FAILURE, 0);
    ask("a", CNY_CIRCUIT_NEITHER, 0);
    ask("a", CNY_CIRCUIT_FAILURE, 0);
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_CLOSED);
    ask("a", CNY_CIRCUIT_FAILURE, 0);
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_OPEN);
    assert_int_equal(state_of("b"), CONEY_CIRCUIT_CLOSED);
    assert_true(ask("b", CNY_CIRCUIT_SUCCESS, 0));
    assert_int_equal(circuits.opened, 1);
    assert_int_equal(circuits.not_closed, 1);
}

static void test_open_circuit_refuses_with_the_reason(void **state)
{
    (void)state;
    cny_ticket ticket;
    bool changed;
    open_circuit(0);
    assert_fails(cny_circuits_admit(&circuits, "shop", "a", 400, &ticket, &changed), CONEY_E_CIRCUIT_OPEN,
                 "another 600 ms, after: no reply");
    assert_false(changed);
}

static void test_probes_close_it(void **state)
{
    (void)state;
    cny_ticket one, two, three;
    open_circuit(0);
    assert_false(admit("a", 999, &one));
    assert_true(admit("a", 1000, &one));
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_HALF_OPEN);
    assert_true(admit("a", 1000, &two));
    assert_false(admit("a", 1000, &three));
    assert_false(note(&one, CNY_CIRCUIT_SUCCESS, 1001));
    assert_false(admit("a", 1001, &three));
    assert_true(note(&two, CNY_CIRCUIT_SUCCESS, 1002));
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_CLOSED);
    assert_int_equal(circuits.count, 0);
    assert_int_equal(circuits.not_closed, 0);
}

static void test_probe_that_fails_opens_it_again(void **state)
{
    (void)state;
    cny_ticket one, two;
    open_circuit(0);
    assert_true(admit("a", 1000, &one));
    assert_true(admit("a", 1000, &two));
    assert_true(note(&one, CNY_CIRCUIT_FAILURE, 1500));
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_OPEN);
    assert_false(note(&two, CNY_CIRCUIT_SUCCESS, 1501)); /* of the generation before */
    assert_false(admit("a", 2499, &one));
    assert_true(admit("a", 2500, &one));
    note(&one, CNY_CIRCUIT_NEITHER, 2500);
}

static void test_probe_that_tells_nothing_gives_its_place_back(void **state)
{
    (void)state;
    cny_ticket one, two, three;
    open_circuit(0);
    assert_true(admit("a", 1000, &one));
    assert_true(admit("a", 1000, &two));
    note(&one, CNY_CIRCUIT_NEITHER, 1000);
    assert_true(admit("a", 1000, &three));
    note(&two, CNY_CIRCUIT_SUCCESS, 1000);
    note(&three, CNY_CIRCUIT_SUCCESS, 1000);
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_CLOSED);
}

static void test_outcome_of_an_earlier_request_changes_nothing(void **state)
{
    (void)state;
    cny_ticket old, probe;
    assert_true(admit("a", 0, &old));
    open_circuit(0);
    assert_true(admit("a", 1000, &probe));
    assert_false(note(&old, CNY_CIRCUIT_FAILURE, 1000));
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_HALF_OPEN);
    note(&probe, CNY_CIRCUIT_SUCCESS, 1000);
}

static void ask_all(int from, int to, cny_circuit_outcome outcome)
{
    char key[16];
    for (int i = from; i < to; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(ask(key, outcome, 0));
    }
}

static void test_circuits_that_remember_nothing_are_forgotten(void **state)
{
    (void)state;
    ask_all(0, 3 * CNY_MOST_CIRCUITS, CNY_CIRCUIT_SUCCESS);
    assert_int_equal(circuits.count, 0);
}

static void test_circuit_used_least_recently_makes_room(void **state)
{
    (void)state;
    ask_all(0, CNY_MOST_CIRCUITS, CNY_CIRCUIT_FAILURE);
    ask_all(0, 1, CNY_CIRCUIT_FAILURE); /* "1" is the oldest now */
    for (int i = 0; i < 3; i++)
        assert_true(ask("new", CNY_CIRCUIT_FAILURE, 0));
    assert_int_equal(circuits.count, CNY_MOST_CIRCUITS);
    assert_int_equal(state_of("new"), CONEY_CIRCUIT_OPEN);
    ask_all(0, 1, CNY_CIRCUIT_FAILURE);
    assert_int_equal(state_of("0"), CONEY_CIRCUIT_OPEN);
    ask_all(1, 2, CNY_CIRCUIT_FAILURE);
    ask_all(1, 2, CNY_CIRCUIT_FAILURE);
    assert_int_equal(state_of("1"), CONEY_CIRCUIT_CLOSED);
}

static void test_circuits_in_use_and_open_ones_stay(void **state)
{
    (void)state;
    static cny_ticket tickets[CNY_MOST_CIRCUITS];
    char key[16];
    cny_ticket more;
    open_circuit(0);
    for (int i = 0; i < CNY_MOST_CIRCUITS - 1; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_true(admit(key, 0, &tickets[i]));
    }
    assert_true(admit("new", 0, &more));
    assert_null(more.circuit);
    assert_int_equal(state_of("a"), CONEY_CIRCUIT_OPEN);
    for (int i = 0; i < CNY_MOST_CIRCUITS - 1; i++)
        note(&tickets[i], CNY_CIRCUIT_SUCCESS, 0);
    assert_int_equal(circuits.count, 1);
}

static void test_without_memory_everything_is_admitted(void **state)
{
    (void)state;
    cny_ticket ticket;
    cny_alloc_fail_after(0);
    assert_true(admit("a", 0, &ticket));
    cny_alloc_fail_after(-1);
    assert_false(note(&ticket, CNY_CIRCUIT_FAILURE, 0));
}

int main(void)
{
#define circuit_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        circuit_test(test_failures_one_after_another_open_it),
        circuit_test(test_open_circuit_refuses_with_the_reason),
        circuit_test(test_probes_close_it),
        circuit_test(test_probe_that_fails_opens_it_again),
        circuit_test(test_probe_that_tells_nothing_gives_its_place_back),
        circuit_test(test_outcome_of_an_earlier_request_changes_nothing),
        circuit_test(test_circuits_that_remember_nothing_are_forgotten),
        circuit_test(test_circuit_used_least_recently_makes_room),
        circuit_test(test_circuits_in_use_and_open_ones_stay),
        circuit_test(test_without_memory_everything_is_admitted),
    };
    return cmocka_run_group_tests_name("circuit", tests, NULL, NULL);
}
