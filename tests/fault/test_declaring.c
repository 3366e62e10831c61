/* SPDX-License-Identifier: MIT */
/* Declaring in odd circumstances: what nobody can declare for now, what two threads ask for at once, and what must not
 * be tried again and again without a pause. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>

enum { LONG_MS = 10000, SHORT_MS = 500, PAUSE_MS = 4000 };

static cny_heard all[CNY_MAX_HEARD];

static int count_heard(amqp_method_number_t id, const char *what)
{
    int count = cny_broker_heard(fault.broker, all), found = 0;
    for (int i = 0; i < count; i++)
        found += all[i].id == id && strcmp(all[i].what, what) == 0;
    return found;
}

static coney_topology *make_shop(const coney_queue *queue)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"});
    coney_topology_add_queue(topology, queue);
    coney_topology_bind(topology, "shop", queue->name, "key");
    return topology;
}

static void use_topology(coney_topology *topology, bool no_auto_declare, int timeout_ms)
{
    const coney_admin_options options = {
        .topology = topology, .no_auto_declare = no_auto_declare, .timeout_ms = timeout_ms};
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &options);
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static void use_shop(void)
{
    use_topology(make_shop(&(coney_queue){.name = "orders"}), false, LONG_MS);
}

static coney_status send_to(const char *exchange)
{
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send(fault.sender, "key", message,
                                              &(coney_send_options){.exchange = exchange, .timeout_ms = LONG_MS});
    coney_message_unref(message);
    return status;
}

/* --- a queue that another connection has --- */

static atomic_bool is_locked;
static atomic_bool is_missing; /* until it is declared */
static coney_admin *another;

static void lock_the_queue(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        bool declares = method->id == AMQP_QUEUE_DECLARE_METHOD, binds = method->id == AMQP_QUEUE_BIND_METHOD;
        if (declares)
            atomic_store(&is_missing, false);
        if ((declares || binds) && atomic_load(&is_locked))
            cny_peer_close_channel(peer, method->channel, 405, "RESOURCE_LOCKED - cannot obtain exclusive access");
        else if (binds && atomic_load(&is_missing))
            cny_peer_close_channel(peer, method->channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
        else
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
}

static void start_locked(const cny_broker_options *options)
{
    atomic_store(&is_locked, true);
    atomic_store(&is_missing, false);
    cny_broker_options with_lock = *options;
    with_lock.script = lock_the_queue;
    fault_start_with(&with_lock, NULL);
}

static coney_declaration_kind sought;
static bool is_found;

static void look_for_declared(const coney_declaration *declaration, void *user)
{
    (void)user;
    is_found |= declaration->kind == sought && declaration->state == CONEY_DECLARATION_DECLARED;
}

static bool is_declared(coney_declaration_kind kind)
{
    sought = kind;
    is_found = false;
    fault_expect_status(CONEY_OK, coney_connection_factory_list_declarations(fault.factory, look_for_declared, NULL));
    return is_found;
}

/* The binding was refused twice, so its own pause would last for two seconds more. */
static void test_binding_is_made_as_soon_as_its_queue_is_declared(void **state)
{
    (void)state;
    start_locked(&(cny_broker_options){0});
    use_shop();
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_wait_until(count_heard(AMQP_QUEUE_BIND_METHOD, "orders") == 2);
    atomic_store(&is_locked, false);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_admin_declare_queue(fault.admin, &(coney_queue){.name = "orders"}, NULL));
    fault_wait_until(is_declared(CONEY_DECLARATION_BINDING));
    test_expect_elapsed(began, 0, 1000);
}

static void bind_once_more(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_bind(topology, "shop", "orders", "another");
    fault_expect_status(CONEY_OK,
                        coney_admin_new(&another, fault.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
}

/* When the so-many-th such method was heard, counted from 1. */
static int64_t heard_at(amqp_method_number_t id, int which)
{
    int count = cny_broker_heard(fault.broker, all);
    for (int i = 0; i < count; i++) {
        if (all[i].id == id && --which == 0)
            return all[i].at_ms;
    }
    fail_msg("method 0x%08x was heard %d times too few", id, which);
    return 0;
}

/* The queue was refused three times, so its own pause lasts for PAUSE_MS. That its new binding finds it missing tells
 * that the other connection has ended. */
static void test_queue_that_was_locked_is_declared_as_soon_as_it_is_missing(void **state)
{
    (void)state;
    start_locked(&(cny_broker_options){0});
    use_shop();
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_wait_until(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders") == 3);
    atomic_store(&is_missing, true);
    atomic_store(&is_locked, false);
    bind_once_more();
    fault_wait_until(is_declared(CONEY_DECLARATION_QUEUE));
    coney_admin_free(another);
    assert_true(heard_at(AMQP_QUEUE_DECLARE_METHOD, 4) < heard_at(AMQP_QUEUE_DECLARE_METHOD, 3) + PAUSE_MS);
}

/* With three bindings each way there are 3^16 ways from one to the other and back, and so on. */
static void test_exchanges_bound_to_each_other_cost_a_send_no_time(void **state)
{
    (void)state;
    start_locked(&(cny_broker_options){0});
    coney_topology *topology = make_shop(&(coney_queue){.name = "orders"});
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "one"});
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "two"});
    static const char *const keys[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        coney_topology_add_binding(
            topology,
            &(coney_binding){.exchange = "one", .to_exchange = true, .destination = "two", .routing_key = keys[i]});
        coney_topology_add_binding(
            topology,
            &(coney_binding){.exchange = "two", .to_exchange = true, .destination = "one", .routing_key = keys[i]});
    }
    use_topology(topology, false, LONG_MS);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to("elsewhere"));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, send_to("one"));
    test_expect_elapsed(began, 0, 500);
}

static int64_t processor_ms(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
           (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
}

/* The consumer has the only channel, so the queue cannot be declared again when that is due. */
static void test_declaring_waits_patiently_for_a_free_channel(void **state)
{
    (void)state;
    fault_reset_handler();
    start_locked(&(cny_broker_options){.channel_max = 1});
    use_shop();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    fault_expect_status(CONEY_OK, coney_container_listen(
                                      fault.container, &(coney_listener){.queue = "others", .on_message = fault_obey}));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    struct timespec pause = {.tv_sec = 1, .tv_nsec = 500000000}; /* past the time when the queue is due */
    nanosleep(&pause, NULL);
    int64_t before = processor_ms();
    pause = (struct timespec){.tv_nsec = 500000000};
    nanosleep(&pause, NULL);
    assert_true(processor_ms() - before < 100);
}

/* --- an admin that leaves --- */

/* The first connection is lost with a message unconfirmed; on the second one the queue stays locked. */
static void lose_one_then_lock(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        atomic_store(&is_locked, true);
        cny_peer_hang_up(peer);
    } else {
        lock_the_queue(peer, user);
    }
}

static void test_unconfirmed_message_is_sent_again_when_the_admin_of_its_exchange_leaves(void **state)
{
    (void)state;
    atomic_store(&is_locked, false);
    fault_start(lose_one_then_lock, NULL);
    use_shop();
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, fault_send_async(0, "shop"));
    fault_wait_until(count_heard(AMQP_QUEUE_BIND_METHOD, "orders") == 3);
    fault_expect_status(CONEY_OK, send_to("elsewhere"));
    assert_int_equal(fault_completed(0).count, 0);
    coney_admin_free(fault.admin);
    fault.admin = NULL;
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
}

/* --- a connection that cannot be made --- */

static void refuse_consumers(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *start = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    if (cny_peer_publishes(peer))
        cny_peer_answer(peer, start);
    else
        cny_peer_hang_up(peer);
}

static void test_failed_attempts_to_connect_have_nothing_declared_again(void **state)
{
    (void)state;
    fault_start(refuse_consumers,
                &(coney_connection_factory_options){.recovery = {.first_delay_ms = 20, .max_delay_ms = 50}});
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to("shop"));
    coney_connection_factory_connect(fault.factory);
    fault_wait_until(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER) >= 6);
    assert_int_equal(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders"), 1);
}

/* The first publishing connection is lost with a message unconfirmed; no consuming one is let in. */
static void refuse_consumers_and_lose_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *start = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    if (!cny_peer_publishes(peer))
        cny_peer_hang_up(peer);
    cny_peer_answer(peer, start);
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

/* Nobody makes its queue any more. */
static void test_unconfirmed_message_is_sent_again_when_the_consuming_connection_is_given_up(void **state)
{
    (void)state;
    fault_start(refuse_consumers_and_lose_one,
                &(coney_connection_factory_options){
                    .recovery = {.first_delay_ms = 200, .max_delay_ms = 200, .max_attempts = 8}});
    use_topology(make_shop(&(coney_queue){.name = "mine", .exclusive = true}), false, LONG_MS);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, fault_send_async(0, "shop"));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    coney_connection_factory_connect(fault.factory);
    cny_broker_go(fault.broker);
    fault_wait_until(fault_info(CONEY_PUBLISHING).times_opened == 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).state, CONEY_CONNECTION_CONNECTING);
    assert_int_equal(fault_completed(0).count, 0);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
}

/* --- an admin that is asked --- */

static void accept_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_stall_until_go(peer);
}

enum { ASK_MS = 2000, LATER_MS = 1200 };

static void *ask_later(void *result)
{
    poll(NULL, 0, LATER_MS);
    *(coney_status *)result = coney_admin_declare(fault.admin);
    return NULL;
}

/* The first one has ended without a connection when the second one gets it. */
static void test_call_that_ends_does_not_end_another_ones_declaring(void **state)
{
    (void)state;
    fault_start(accept_late, NULL);
    use_topology(make_shop(&(coney_queue){.name = "orders"}), true, ASK_MS);
    pthread_t thread;
    coney_status later;
    assert_int_equal(pthread_create(&thread, NULL, ask_later, &later), 0);
    fault_expect_status(CONEY_E_CONNECT, coney_admin_declare(fault.admin));
    cny_broker_go(fault.broker);
    pthread_join(thread, NULL);
    fault_expect_status(CONEY_OK, later);
    assert_int_equal(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders"), 1);
    assert_int_equal(count_heard(AMQP_QUEUE_BIND_METHOD, "orders"), 1);
}

/* --- what closes the connection --- */

static atomic_int isolated, closed;

static void close_over(cny_peer *peer, amqp_method_number_t method)
{
    cny_peer_serve_until(peer, method);
    cny_peer_close_connection_over(peer, method, 541, "INTERNAL_ERROR - not this one");
}

/* Twice on the connections of all, once on the isolated one; then it is well. */
static void close_over_the_queue_three_times(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    if (cny_peer_number(peer) < 2 || (cny_peer_is_isolated(peer) && atomic_fetch_add(&isolated, 1) == 0))
        close_over(peer, AMQP_QUEUE_DECLARE_METHOD);
}

static void test_admin_that_is_asked_again_tries_what_closed_the_connection(void **state)
{
    (void)state;
    atomic_store(&isolated, 0);
    fault_start(close_over_the_queue_three_times, NULL);
    use_topology(make_shop(&(coney_queue){.name = "orders"}), true, LONG_MS);
    fault_expect_status(CONEY_E_BROKER, coney_admin_declare(fault.admin));
    int before = count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders");
    fault_expect_status(CONEY_OK, coney_admin_declare(fault.admin));
    assert_true(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders") > before);
}

/* The isolated connection ends without a word, so nobody knows what it was about. */
static void hang_up_when_isolated(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    if (cny_peer_number(peer) < 2) {
        close_over(peer, AMQP_QUEUE_DECLARE_METHOD);
    } else if (cny_peer_is_isolated(peer)) {
        cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
        atomic_fetch_add(&isolated, 1);
        cny_peer_hang_up(peer);
    }
}

static void test_trial_that_ends_without_an_answer_is_repeated_after_a_pause(void **state)
{
    (void)state;
    atomic_store(&isolated, 0);
    fault_start(hang_up_when_isolated, NULL);
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to("elsewhere"));
    fault_wait_until(atomic_load(&isolated) > 0);
    poll(NULL, 0, SHORT_MS);
    assert_int_equal(atomic_load(&isolated), 1);
}

/* The binding of an exclusive queue cannot be made there: that it is answered shows that it does no harm. */
static void lock_when_isolated(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        return;
    if (!cny_peer_is_isolated(peer) && atomic_fetch_add(&closed, 1) < 2) {
        close_over(peer, AMQP_QUEUE_BIND_METHOD);
    } else if (cny_peer_is_isolated(peer)) {
        for (;;)
            cny_peer_close_channel(peer, cny_peer_serve_until(peer, AMQP_QUEUE_BIND_METHOD)->channel, 405,
                                   "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine'");
    }
}

static void test_suspect_that_the_broker_refuses_alone_is_none_any_more(void **state)
{
    (void)state;
    atomic_store(&closed, 0);
    fault_start(lock_when_isolated, NULL);
    use_topology(make_shop(&(coney_queue){.name = "mine", .exclusive = true}), false, LONG_MS);
    fault_use_template(NULL);
    coney_connection_factory_connect(fault.factory);
    fault_expect_status(CONEY_OK, send_to("shop"));
    assert_true(is_declared(CONEY_DECLARATION_BINDING));
}

/* --- a thing that two threads declare --- */

static atomic_int looks;

/* Twice the connection of all is closed over the queue. Alone it is refused, and the answer to whether it is there
 * takes its time; meanwhile others are refused and answered at once. */
static void answer_late_when_isolated(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    if (cny_peer_number(peer) < 2) {
        close_over(peer, AMQP_QUEUE_DECLARE_METHOD);
        return;
    }
    for (;;) {
        const cny_peer_method *declare = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
        if (!((const amqp_queue_declare_t *)declare->args)->passive) {
            cny_peer_close_channel(peer, declare->channel, 406, "PRECONDITION_FAILED - inequivalent arg 'durable'");
            continue;
        }
        if (cny_peer_is_isolated(peer)) {
            atomic_fetch_add(&looks, 1);
            cny_peer_stall_until_go(peer);
        }
        cny_peer_answer(peer, declare);
    }
}

static coney_status declare(void)
{
    return coney_admin_declare(fault.admin);
}

/* Since the broker has refused the queue alone, it is no suspect any more, so the second call has it declared with the
 * others, while the first one's thread still waits. */
static void test_thing_that_two_threads_declare_is_concluded_by_the_first(void **state)
{
    (void)state;
    atomic_store(&looks, 0);
    fault_start(answer_late_when_isolated, NULL);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = "orders"});
    use_topology(topology, true, LONG_MS);
    fault_in_background(declare);
    fault_wait_until(atomic_load(&looks) == 1);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, declare());
    fault_expect_text("it is there with other properties");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, fault_background_end());
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, declare());
}

/* --- a binding that is not permitted --- */

/* Either connection may be the one that declares: the first that is open. */
static void forbid_binding(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_QUEUE_BIND_METHOD)
            cny_peer_close_channel(peer, method->channel, 403,
                                   "ACCESS_REFUSED - access to queue 'orders' in vhost '/' refused for user 'guest'");
        else
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
}

static coney_declaration found_binding;

static void find_found_binding(const coney_declaration *declaration, void *user)
{
    (void)user;
    if (declaration->kind == CONEY_DECLARATION_BINDING && declaration->state == CONEY_DECLARATION_FOUND)
        found_binding = *declaration;
}

static bool is_binding_found(void)
{
    found_binding = (coney_declaration){0};
    fault_expect_status(CONEY_OK, coney_connection_factory_list_declarations(fault.factory, find_found_binding, NULL));
    return *found_binding.name;
}

static void test_binding_that_is_not_permitted_may_be_there_and_says_so(void **state)
{
    (void)state;
    fault_start(forbid_binding, NULL);
    use_shop();
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_wait_until(is_binding_found());
    assert_non_null(strstr(found_binding.text, "whether it is there cannot be seen without that permission"));
}

/* --- things without an answer --- */

enum { FROZEN = 16, ANSWER_MS = 500 };

static bool is_frozen(const cny_peer_method *declare)
{
    static const char prefix[] = "frozen";
    amqp_bytes_t queue = ((amqp_queue_declare_t *)declare->args)->queue;
    return queue.len >= sizeof prefix - 1 && memcmp(queue.bytes, prefix, sizeof prefix - 1) == 0;
}

/* The broker answers the requests of a channel in their order, so there is no answer to those that follow either. */
static void never_answer_for_frozen_queues(cny_peer *peer, void *user)
{
    (void)user;
    bool is_stuck[100] = {false};
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        bool *stuck = &is_stuck[method->channel];
        *stuck = method->id != AMQP_CHANNEL_CLOSE_METHOD &&
                 (*stuck || (method->id == AMQP_QUEUE_DECLARE_METHOD && is_frozen(method)));
        if (!*stuck)
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
}

/* One after another they would take FROZEN times as long as one answer may. */
static void test_things_without_an_answer_are_waited_for_together(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = never_answer_for_frozen_queues, .may_hang_up = true}, NULL);
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < FROZEN; i++) {
        char name[32];
        snprintf(name, sizeof name, "frozen.%d", i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name});
    }
    coney_topology_add_queue(topology, &(coney_queue){.name = "last"});
    int64_t began = cny_now_ms();
    use_topology(topology, false, ANSWER_MS);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE});
    fault_expect_status(CONEY_OK, fault_send_async(0, "elsewhere")); /* begins to connect and does not wait */
    fault_wait_until(is_declared(CONEY_DECLARATION_QUEUE));
    test_expect_elapsed(began, 0, FROZEN * ANSWER_MS / 2);
}

/* --- an exchange whose plugin no package brings --- */

static atomic_bool is_as_declared;

static bool has_text(const amqp_table_t *table, const char *name, const char *text)
{
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_table_entry_t *entry = &table->entries[i];
        if (entry->key.len == strlen(name) && memcmp(entry->key.bytes, name, entry->key.len) == 0)
            return entry->value.kind == AMQP_FIELD_KIND_UTF8 && entry->value.value.bytes.len == strlen(text) &&
                   memcmp(entry->value.value.bytes.bytes, text, strlen(text)) == 0;
    }
    return false;
}

static void look_at_exchange(cny_peer *peer, void *user)
{
    (void)user;
    static const char type[] = "x-delayed-message";
    cny_peer_log_in(peer);
    const cny_peer_method *method = cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD);
    const amqp_exchange_declare_t *declare = method->args;
    atomic_store(&is_as_declared, declare->type.len == strlen(type) &&
                                      memcmp(declare->type.bytes, type, strlen(type)) == 0 &&
                                      has_text(&declare->arguments, "x-delayed-type", "topic"));
    cny_peer_answer(peer, method);
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_CONNECTION_CLOSE_METHOD));
}

static void test_delayed_exchange_tells_its_type_by_an_argument(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = look_at_exchange, .may_hang_up = true}, NULL);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "later", .type = CONEY_TOPIC, .delayed = true});
    use_topology(topology, true, LONG_MS);
    fault_expect_status(CONEY_OK, coney_admin_declare(fault.admin));
    assert_true(atomic_load(&is_as_declared));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_binding_is_made_as_soon_as_its_queue_is_declared),
        fault_test(test_queue_that_was_locked_is_declared_as_soon_as_it_is_missing),
        fault_test(test_exchanges_bound_to_each_other_cost_a_send_no_time),
        fault_test(test_declaring_waits_patiently_for_a_free_channel),
        fault_test(test_unconfirmed_message_is_sent_again_when_the_admin_of_its_exchange_leaves),
        fault_test(test_failed_attempts_to_connect_have_nothing_declared_again),
        fault_test(test_unconfirmed_message_is_sent_again_when_the_consuming_connection_is_given_up),
        fault_test(test_call_that_ends_does_not_end_another_ones_declaring),
        fault_test(test_admin_that_is_asked_again_tries_what_closed_the_connection),
        fault_test(test_trial_that_ends_without_an_answer_is_repeated_after_a_pause),
        fault_test(test_suspect_that_the_broker_refuses_alone_is_none_any_more),
        fault_test(test_thing_that_two_threads_declare_is_concluded_by_the_first),
        fault_test(test_binding_that_is_not_permitted_may_be_there_and_says_so),
        fault_test(test_things_without_an_answer_are_waited_for_together),
        fault_test(test_delayed_exchange_tells_its_type_by_an_argument),
    };
    return cmocka_run_group_tests_name("declaring", tests, NULL, NULL);
}
