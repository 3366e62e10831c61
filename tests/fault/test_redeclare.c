/* SPDX-License-Identifier: MIT */
/* The topology on each new connection, and the order in which everything comes back: declarations,
 * then consumers, then publishers, across both connections. */
#include "support/fault_consumer.h"

#include <stdio.h>

/* A call that waits for the recovery thread returns after LONG_MS; a busy machine may be somewhat late. */
enum { LONG_MS = 10000, SHORT_MS = 300, LATE_MS = 2500 };

static cny_heard all[CNY_MAX_HEARD];

static bool is(const cny_heard *one, amqp_method_number_t id, const char *what)
{
    return one->id == id && strcmp(one->what, what) == 0;
}

/* Where the so-many-th such method stands, counted from 1; fails the test if it was not heard. */
static int find(int count, amqp_method_number_t id, const char *what, int which)
{
    for (int i = 0; i < count; i++) {
        if (is(&all[i], id, what) && --which == 0)
            return i;
    }
    fail_msg("method 0x%08x for '%s' was heard %d times too few", id, what, which);
    return -1;
}

static int count_heard(bool publishing, amqp_method_number_t id, const char *what)
{
    int count = cny_broker_heard(fault.broker, all), found = 0;
    for (int i = 0; i < count; i++)
        found += all[i].publishing == publishing && is(&all[i], id, what);
    return found;
}

static void use_topology(const coney_queue *queues, int count)
{
    coney_topology *topology = coney_topology_new();
    fault_expect_status(CONEY_OK, coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"}));
    for (int i = 0; i < count; i++) {
        fault_expect_status(CONEY_OK, coney_topology_add_queue(topology, &queues[i]));
        fault_expect_status(CONEY_OK, coney_topology_bind(topology, "shop", queues[i].name, "key"));
    }
    const coney_admin_options options = {.topology = topology, .timeout_ms = LONG_MS};
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &options);
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static const coney_queue orders = {.name = "orders"};

/* --- while one connection waits for an answer --- */

static void answer_publishers_only(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
        cny_peer_silence(peer, LONG_MS);
        return;
    }
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    if (cny_peer_number(peer) == 0)
        cny_peer_hang_up(peer);
}

static coney_status connect_both(void)
{
    return coney_connection_factory_connect(fault.factory);
}

static void test_silence_on_one_connection_holds_up_neither_confirms_nor_the_other_connection(void **state)
{
    (void)state;
    enum { CONFIRM_MS = 500 };
    const coney_queue queues[] = {{.name = "orders"}, {.name = "mine", .exclusive = true}};
    fault_start(answer_publishers_only, NULL);
    use_topology(queues, 2);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = CONFIRM_MS});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_in_background(connect_both);
    fault_wait_until(count_heard(false, AMQP_QUEUE_DECLARE_METHOD, "mine") == 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_until(fault_completed(0).count == 1);
    test_expect_elapsed(began, CONFIRM_MS, CONFIRM_MS + 100);
    fault_expect_completion(0, CONEY_E_TIMEOUT);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_PUBLISHING, 2); /* though the other one still waits for its answer */
    assert_int_equal(count_heard(false, AMQP_QUEUE_DECLARE_METHOD, "mine"), 1);
    fault_expect_status(CONEY_OK, fault_background_end());
}

/* --- declared first --- */

/* From the first moment on. */
static void hold_back_publishers(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_cork(peer, true);
    cny_peer_log_in(peer);
    cny_peer_block(peer, "low on memory");
    cny_peer_cork(peer, false);
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void test_broker_that_holds_back_publishers_is_not_left_for_not_declaring(void **state)
{
    (void)state;
    fault_start(hold_back_publishers, NULL);
    use_topology(&orders, 1);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(500));
    fault_expect_text("low on memory");
    assert_true(fault_info(CONEY_PUBLISHING).blocked);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(count_heard(true, AMQP_QUEUE_DECLARE_METHOD, "orders"), 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

static void test_flow_fail_does_not_wait_for_a_broker_that_holds_back_publishers_from_the_start(void **state)
{
    (void)state;
    fault_start(hold_back_publishers, NULL);
    use_topology(&orders, 1);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, fault_send(LONG_MS));
    test_expect_elapsed(began, 0, LONG_MS / 4);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_PUBLISHING, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

/* Each role's first connection ends when the test says so. */
static void lose_the_first_two(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 1)
        return;
    cny_peer_log_in(peer);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void test_topology_is_declared_before_consumers_and_publishers_go_on_after_a_loss(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(lose_the_first_two, NULL);
    use_topology(&orders, 1);
    fault_use_template(NULL);
    fault_use_container(NULL, fault_obey, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
    int count = cny_broker_heard(fault.broker, all);
    for (int round = 1; round <= 2; round++) {
        int exchange = find(count, AMQP_EXCHANGE_DECLARE_METHOD, "shop", round);
        int queue = find(count, AMQP_QUEUE_DECLARE_METHOD, "orders", round);
        int binding = find(count, AMQP_QUEUE_BIND_METHOD, "orders", round);
        int consumer = find(count, AMQP_BASIC_CONSUME_METHOD, "orders", round);
        int message = find(count, AMQP_BASIC_PUBLISH_METHOD, "hello", round);
        assert_true(exchange < queue && queue < binding && binding < consumer && consumer < message);
    }
}

/* --- a queue that went away --- */

static void cancel_when_told(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_serve_until_consumer(peer);
}

static void test_missing_queue_is_declared_again_before_its_consumer_resumes(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(cancel_when_told, NULL);
    use_topology(&orders, 1);
    fault_use_container(&(coney_container_options){.resubscribe_interval_ms = LONG_MS}, fault_obey, 1);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    int count = cny_broker_heard(fault.broker, all);
    int declared = find(count, AMQP_QUEUE_DECLARE_METHOD, "orders", 2);
    int bound = find(count, AMQP_QUEUE_BIND_METHOD, "orders", 2);
    int consumed = find(count, AMQP_BASIC_CONSUME_METHOD, "orders", 2);
    assert_true(declared < bound && bound < consumed);
}

/* --- what is refused --- */

static void refuse_the_first_queue(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *declare = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    cny_peer_close_channel(peer, declare->channel, 406, "PRECONDITION_FAILED - inequivalent arg 'durable'");
}

static void test_refused_declaration_costs_neither_the_others_nor_the_connection(void **state)
{
    (void)state;
    const coney_queue queues[] = {{.name = "orders"}, {.name = "invoices"}};
    fault_start(refuse_the_first_queue, NULL);
    use_topology(queues, 2);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(count_heard(true, AMQP_QUEUE_DECLARE_METHOD, "invoices"), 1);
    assert_int_equal(count_heard(true, AMQP_QUEUE_BIND_METHOD, "invoices"), 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

static void fall_silent_at_the_first_declaration(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

static void test_connection_on_which_nothing_is_heard_is_replaced(void **state)
{
    (void)state;
    fault_start(fall_silent_at_the_first_declaration, &(coney_connection_factory_options){.heartbeat_s = 1});
    use_topology(&orders, 1);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 2);
}

/* --- while it takes its time --- */

/* The admin whose declarations keep the recovery thread busy; fault.admin has no topology and little time. */
static coney_admin *declaring;

static int teardown_declaring(void **state)
{
    coney_admin_free(declaring);
    declaring = NULL;
    return fault_teardown(state);
}

#define declaring_test(function) cmocka_unit_test_teardown(function, teardown_declaring)

static void lose_both_and_fall_silent_at_the_next_declaration(cny_peer *peer, void *user)
{
    lose_the_first_two(peer, user);
    if (cny_peer_number(peer) < 2)
        return;
    cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

/* Both connections are gone, and both new ones wait for the answer to a declaration, which never comes. */
static void leave_both_declaring(void)
{
    fault_start(lose_both_and_fall_silent_at_the_next_declaration,
                &(coney_connection_factory_options){.connection_timeout_ms = SHORT_MS});
    use_topology(&orders, 1);
    declaring = fault.admin;
    fault_use_admin(SHORT_MS);
    fault_use_template(&(coney_template_options){.timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_EXCHANGE_DECLARE_METHOD) == 2);
    fault_wait_until(fault_ask() == CONEY_E_CONNECT); /* until the loss is seen, it is CONEY_E_LOST */
    fault_wait_until(fault_send(SHORT_MS) == CONEY_E_CONNECT);
}

static coney_status send_one(void)
{
    return fault_send(0);
}

static coney_status send_one_async(void)
{
    return fault_send_async(0, NULL);
}

static coney_status send_one_and_forget(void)
{
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send_and_forget(fault.sender, "key", message, NULL);
    coney_message_unref(message);
    return status;
}

static coney_status receive_one(void)
{
    coney_message *message;
    return coney_template_receive(fault.sender, "orders", &message, LONG_MS); /* that is for the message to come */
}

static coney_status open_scope(void)
{
    coney_scope *scope;
    return coney_scope_new(&scope, fault.sender, NULL);
}

static coney_status start_a_container(void)
{
    const coney_container_options options = {.start_timeout_ms = SHORT_MS};
    const coney_listener listener = {.queue = "orders", .on_message = fault_obey};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &listener));
    return coney_container_start(fault.container);
}

/* Each in a test of its own, for declarations without an answer are waited for no longer than five seconds. */
static void expect_deadline_to_be_kept(coney_status (*call)(void))
{
    leave_both_declaring();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, call());
    test_expect_elapsed(began, SHORT_MS, LATE_MS);
}

#define deadline_test(call)                                                                                            \
    static void test_##call##_keeps_its_deadline_while_the_topology_is_declared(void **state)                          \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        expect_deadline_to_be_kept(call);                                                                              \
    }

deadline_test(fault_ask) deadline_test(send_one) deadline_test(send_one_async) deadline_test(send_one_and_forget)
    deadline_test(receive_one) deadline_test(open_scope) deadline_test(start_a_container)

    /* Its deadline is the connection timeout and a second. */
    static void test_connect_keeps_its_deadline_while_the_topology_is_declared(void **state)
{
    (void)state;
    leave_both_declaring();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_connect(fault.factory));
    test_expect_elapsed(began, 0, LATE_MS);
    fault_expect_text("not connected within the connection timeouts");
}

/* Those that have nothing to wait for. */
static void test_other_calls_return_at_once_while_the_topology_is_declared(void **state)
{
    (void)state;
    coney_send_statistics statistics;
    leave_both_declaring();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &statistics));
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, LONG_MS));
    assert_int_not_equal(fault_info(CONEY_CONSUMING).times_opened, 0);
    coney_template_free(fault.sender);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    fault_expect_status(CONEY_E_CONNECT, fault_send(LONG_MS));
    coney_admin_free(fault.admin);
    use_topology(&orders, 1);
    coney_admin_free(declaring); /* in its declaration */
    declaring = NULL;
    test_expect_elapsed(began, 0, LATE_MS);
}

/* --- exclusive queues --- */

static void connect_with_an_exclusive_queue(void)
{
    const coney_queue queues[] = {{.name = "orders"}, {.name = "mine", .exclusive = true}};
    fault_start(NULL, NULL);
    use_topology(queues, 2);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    assert_int_equal(count_heard(true, AMQP_QUEUE_DECLARE_METHOD, "orders") +
                         count_heard(false, AMQP_QUEUE_DECLARE_METHOD, "orders"),
                     1); /* by whichever connection was there first */
}

static void test_exclusive_queue_is_declared_on_the_consuming_connection_only(void **state)
{
    (void)state;
    connect_with_an_exclusive_queue();
    assert_int_equal(count_heard(false, AMQP_QUEUE_DECLARE_METHOD, "mine"), 1);
    assert_int_equal(count_heard(true, AMQP_QUEUE_DECLARE_METHOD, "mine"), 0);
}

/* RabbitMQ answers 405 to a binding of another connection's queue. */
static void test_exclusive_queue_is_bound_on_the_consuming_connection_only(void **state)
{
    (void)state;
    connect_with_an_exclusive_queue();
    assert_int_equal(count_heard(false, AMQP_QUEUE_BIND_METHOD, "mine"), 1);
    assert_int_equal(count_heard(true, AMQP_QUEUE_BIND_METHOD, "mine"), 0);
}

/* --- consumers before publishers --- */

/* Both connections go; the new consuming one takes its time at the step that the user is. */
static void let_the_publisher_in_first(cny_peer *peer, void *user)
{
    (void)user;
    bool publishing = cny_peer_log_in(peer);
    if (cny_peer_number(peer) < 2) {
        if (publishing)
            cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
    } else if (!publishing) {
        cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
        cny_peer_wait_go(peer);
        (void)consume;
        amqp_basic_consume_ok_t ok = {amqp_cstring_bytes("tag")};
        cny_peer_send(peer, 1, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
    }
}

static coney_status send_the_second(void)
{
    return fault_send_async(1, NULL);
}

static void test_consumers_resume_before_publishers_publish(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(let_the_publisher_in_first, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_use_container(NULL, fault_obey, 1);
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL)); /* not confirmed, so it is kept */
    fault_wait_until(count_heard(true, AMQP_BASIC_PUBLISH_METHOD, "0") == 1);
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    fault_wait_for_info(CONEY_PUBLISHING, "preparing the connection");
    fault_in_background(send_the_second);
    fault_wait_until(count_heard(false, AMQP_BASIC_CONSUME_METHOD, "orders") == 2);
    fault_wait_for_info(CONEY_PUBLISHING, "preparing the connection"); /* though nothing keeps it */
    assert_int_equal(count_heard(true, AMQP_BASIC_PUBLISH_METHOD, "0"), 1);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_for_confirms();
    int count = cny_broker_heard(fault.broker, all);
    int consumed = find(count, AMQP_BASIC_CONSUME_METHOD, "orders", 2);
    int resent = find(count, AMQP_BASIC_PUBLISH_METHOD, "0", 2);
    int sent = find(count, AMQP_BASIC_PUBLISH_METHOD, "1", 1);
    assert_true(consumed < resent && resent < sent);
}

/* The consuming connection does not come back at all. */
static void refuse_consumers(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *start_ok = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    if (cny_peer_number(peer) > 1 && !cny_peer_publishes(peer)) {
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_answer(peer, start_ok);
    cny_peer_log_in(peer);
    if (cny_peer_number(peer) < 2) {
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
    }
}

static void test_publishers_do_not_wait_for_consumers_that_cannot_resume(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(refuse_consumers, NULL);
    fault_use_template(NULL);
    fault_use_container(NULL, fault_obey, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    test_expect_elapsed(began, 0, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_broker_that_holds_back_publishers_is_not_left_for_not_declaring),
        fault_test(test_flow_fail_does_not_wait_for_a_broker_that_holds_back_publishers_from_the_start),
        fault_test(test_topology_is_declared_before_consumers_and_publishers_go_on_after_a_loss),
        fault_test(test_missing_queue_is_declared_again_before_its_consumer_resumes),
        fault_test(test_refused_declaration_costs_neither_the_others_nor_the_connection),
        fault_test(test_connection_on_which_nothing_is_heard_is_replaced),
        fault_test(test_silence_on_one_connection_holds_up_neither_confirms_nor_the_other_connection),
        declaring_test(test_fault_ask_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_send_one_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_send_one_async_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_send_one_and_forget_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_receive_one_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_open_scope_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_start_a_container_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_connect_keeps_its_deadline_while_the_topology_is_declared),
        declaring_test(test_other_calls_return_at_once_while_the_topology_is_declared),
        fault_test(test_exclusive_queue_is_declared_on_the_consuming_connection_only),
        fault_test(test_exclusive_queue_is_bound_on_the_consuming_connection_only),
        fault_test(test_consumers_resume_before_publishers_publish),
        fault_test(test_publishers_do_not_wait_for_consumers_that_cannot_resume),
    };
    return cmocka_run_group_tests_name("redeclare", tests, NULL, NULL);
}
