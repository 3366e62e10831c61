/* SPDX-License-Identifier: MIT */
/* The states of a connection's slot and the phases of a factory: what may follow what, and what the program sees. */
#include "rabbit/factory/parts.h"
#include "support/test_support.h"

#include <string.h>

/* A row for each state: I idle, B backing off, C connecting, D declaring, A awaiting consumers, O open, F failed,
 * X closed. */
static void test_a_slot_takes_only_these_steps(void **state)
{
    (void)state;
    static const char *const names = "IBCDAOFX";
    static const char *const next[CNY_SLOT_STATES] = {
        [CNY_SLOT_IDLE] = "BX",
        [CNY_SLOT_BACKING_OFF] = "BCFX",
        [CNY_SLOT_CONNECTING] = "BDFX",
        [CNY_SLOT_DECLARING] = "BAOFX",
        [CNY_SLOT_AWAITING_CONSUMERS] = "BOFX",
        [CNY_SLOT_OPEN] = "BX", /* whether it is given up is decided by the attempts after the loss */
        [CNY_SLOT_FAILED] = "BX",
        [CNY_SLOT_CLOSED] = "",
    };
    for (int from = 0; from < CNY_SLOT_STATES; from++) {
        for (int to = 0; to < CNY_SLOT_STATES; to++) {
            bool may = cny_slot_may_follow((cny_slot_state)from, (cny_slot_state)to);
            if (may != (strchr(next[from], names[to]) != NULL))
                fail_msg("%c -> %c: %s", names[from], names[to], may ? "may follow" : "may not follow");
        }
    }
}

static void test_the_program_sees_connecting_until_a_slot_can_be_used(void **state)
{
    (void)state;
    static const coney_connection_state seen[CNY_SLOT_STATES] = {
        [CNY_SLOT_IDLE] = CONEY_CONNECTION_IDLE,
        [CNY_SLOT_BACKING_OFF] = CONEY_CONNECTION_CONNECTING,
        [CNY_SLOT_CONNECTING] = CONEY_CONNECTION_CONNECTING,
        [CNY_SLOT_DECLARING] = CONEY_CONNECTION_CONNECTING,
        [CNY_SLOT_AWAITING_CONSUMERS] = CONEY_CONNECTION_CONNECTING,
        [CNY_SLOT_OPEN] = CONEY_CONNECTION_OPEN,
        [CNY_SLOT_FAILED] = CONEY_CONNECTION_FAILED,
        [CNY_SLOT_CLOSED] = CONEY_CONNECTION_CLOSED,
    };
    for (int each = 0; each < CNY_SLOT_STATES; each++)
        assert_int_equal(cny_slot_public_state((cny_slot_state)each), seen[each]);
}

static void test_a_slot_has_a_login_from_declaring_until_the_loss(void **state)
{
    (void)state;
    for (int each = 0; each < CNY_SLOT_STATES; each++) {
        bool expected = each == CNY_SLOT_DECLARING || each == CNY_SLOT_AWAITING_CONSUMERS || each == CNY_SLOT_OPEN;
        assert_int_equal(cny_slot_is_logged_in((cny_slot_state)each), expected);
    }
}

/* The events thread runs, but no connection is needed, so there is no broker. */
static void test_a_factory_goes_through_its_phases_once(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    assert_int_equal(coney_connection_factory_new(&factory, "amqp://localhost", NULL), CONEY_OK);
    assert_int_equal(factory->phase, CNY_FACTORY_SERVING);
    assert_false(cny_factory_is_draining(factory));
    assert_int_equal(cny_factory_check_draining(factory), CONEY_OK);
    cny_factory_ref(factory);
    assert_int_equal(coney_connection_factory_close(factory), CONEY_OK);
    assert_int_equal(factory->phase, CNY_FACTORY_ENDED);
    assert_int_equal(factory->recovery, CNY_RECOVERY_NONE);
    assert_int_equal(coney_connection_factory_close(factory), CONEY_OK); /* and stays there */
    assert_int_equal(factory->phase, CNY_FACTORY_ENDED);
    coney_connection_factory_free(factory);
    cny_factory_unref(factory);
}

static void test_each_phase_allows_less(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    assert_int_equal(coney_connection_factory_new(&factory, "amqp://localhost", NULL), CONEY_OK);
    cny_factory_ref(factory);
    pthread_mutex_lock(&factory->lock);
    cny_factory_enter_phase(factory, CNY_FACTORY_DRAINING);
    assert_true(cny_factory_is_draining(factory));
    assert_int_equal(cny_factory_check_draining(factory), CONEY_E_CLOSED);
    assert_int_equal(cny_factory_check_closed(factory), CONEY_OK); /* what is sent is still confirmed */
    const coney_connection_factory *before = cny_factory_set_internal_thread(factory);
    assert_int_equal(cny_factory_check_draining(factory), CONEY_OK); /* handlers and callbacks may send */
    cny_factory_set_internal_thread(before);
    cny_factory_enter_phase(factory, CNY_FACTORY_CLOSED);
    assert_true(cny_factory_is_draining(factory));
    assert_int_equal(cny_factory_check_closed(factory), CONEY_E_CLOSED);
    cny_factory_enter_phase(factory, CNY_FACTORY_ENDED);
    pthread_mutex_unlock(&factory->lock);
    cny_events_stop(factory->events, cny_deadline(5000));
    cny_threads_join(&factory->threads, NULL, cny_deadline(5000));
    coney_connection_factory_free(factory);
    cny_factory_unref(factory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slot_takes_only_these_steps),
        cmocka_unit_test(test_the_program_sees_connecting_until_a_slot_can_be_used),
        cmocka_unit_test(test_a_slot_has_a_login_from_declaring_until_the_loss),
        cmocka_unit_test(test_a_factory_goes_through_its_phases_once),
        cmocka_unit_test(test_each_phase_allows_less),
    };
    return cmocka_run_group_tests_name("factory states", tests, NULL, NULL);
}
