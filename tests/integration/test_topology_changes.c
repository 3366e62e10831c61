/* SPDX-License-Identifier: MIT */
/* A topology that changes while the admin runs, single declarations, deletions under conditions, and what a refusal
 * means for the rest of the program. */
#include "support/container_fixture.h"
#include "support/plain_client.h"
#include "support/test_support.h"

#include <stdio.h>
#include <string.h>

static coney_admin *admin;
static char queue[256], exchange[256];

static int set_up(void **state)
{
    (void)state;
    snprintf(queue, sizeof queue, "%s", test_name("changes"));
    snprintf(exchange, sizeof exchange, "%s", test_name("changes.exchange"));
    return 0;
}

static int tear_down(void **state)
{
    coney_admin_free(admin);
    admin = NULL;
    coney_admin_delete_queue(client.admin, queue, NULL);
    coney_admin_delete_exchange(client.admin, exchange);
    return test_no_failed_checks(state);
}

#define changes_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void use_admin(const coney_admin_options *options)
{
    assert_ok(coney_admin_new(&admin, client.factory, options));
}

static coney_topology *queue_and_binding(const coney_queue *of)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC});
    coney_topology_add_queue(topology, of);
    coney_topology_bind(topology, exchange, queue, "key");
    return topology;
}

/* Takes the topology. */
static void add(coney_topology *topology)
{
    coney_status status = coney_admin_add(admin, topology);
    coney_topology_free(topology);
    assert_ok(status);
    assert_ok(coney_admin_declare(admin));
}

static bool exists(const char *name)
{
    bool is_there;
    assert_ok(coney_admin_queue_exists(client.admin, name, &is_there));
    return is_there;
}

static void delete_and_lose(void)
{
    assert_ok(coney_admin_delete_queue(client.admin, queue, NULL));
    test_kill_connections();
}

static void expect_queue_comes(void)
{
    test_wait_until(exists(queue));
}

/* Another queue that is declared as this one would be tells that declaring is over. */
static void expect_queue_stays_away(void)
{
    coney_topology *topology = coney_topology_new();
    coney_admin *last;
    coney_topology_add_queue(topology, &(coney_queue){.anonymous = true});
    assert_ok(coney_admin_new(&last, client.factory, &(coney_admin_options){.topology = topology}));
    assert_ok(coney_admin_declare(last));
    assert_false(exists(queue));
    coney_admin_free(last);
    coney_topology_free(topology);
}

static void send_through_exchange(void)
{
    coney_message *message = test_text("x");
    assert_ok(coney_template_send(client.sender, "key", message, &(coney_send_options){.exchange = exchange}));
    coney_message_unref(message);
}

static atomic_int handled;

static coney_outcome count_one(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

/* ---- the topology ---- */

static void test_added_topology_is_declared_and_comes_back(void **state)
{
    (void)state;
    use_admin(NULL);
    add(queue_and_binding(&(coney_queue){.name = queue}));
    send_through_exchange();
    test_wait_for_depth(queue, 1);
    delete_and_lose();
    expect_queue_comes();
    send_through_exchange();
    test_wait_for_depth(queue, 1);
}

static void test_adding_what_is_there_adds_nothing(void **state)
{
    (void)state;
    use_admin(NULL);
    add(queue_and_binding(&(coney_queue){.name = queue}));
    add(queue_and_binding(&(coney_queue){.name = queue}));
    coney_topology *other = queue_and_binding(&(coney_queue){.name = queue, .max_length = 5});
    assert_fails(coney_admin_add(admin, other), CONEY_E_INVALID, "max_length is none there and 5 here");
    coney_topology_free(other);
    assert_ok(coney_admin_declare(admin));
}

static void test_forgotten_queue_does_not_come_back(void **state)
{
    (void)state;
    use_admin(NULL);
    add(queue_and_binding(&(coney_queue){.name = queue}));
    assert_ok(coney_admin_forget_queue(admin, queue));
    assert_true(exists(queue));
    assert_fails(coney_admin_forget_queue(admin, queue), CONEY_E_NOT_FOUND, queue);
    delete_and_lose();
    expect_queue_stays_away();
    assert_ok(coney_admin_forget_exchange(admin, exchange));
    assert_fails(coney_admin_declare(admin), CONEY_E_INVALID, "no topology");
    add(queue_and_binding(&(coney_queue){.name = queue, .max_length = 5})); /* another one now */
    assert_true(exists(queue));
}

/* The first connection opens only when everything was declared on it, which takes longer than the timeout here. */
static void test_large_topology_takes_as_long_as_answers_come(void **state)
{
    (void)state;
    enum { MANY = 2000 };
    char name[300];
    coney_connection_factory *factory;
    coney_topology *topology = coney_topology_new();
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "%.200s.%d", queue, i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name, .kind = CONEY_CLASSIC, .expires_ms = 60000});
    }
    assert_ok(coney_connection_factory_new(&factory, test_uri(), NULL));
    assert_ok(coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology, .timeout_ms = 1500}));
    coney_topology_free(topology);
    assert_ok(coney_admin_declare(admin));
    assert_true(exists(name));
    coney_connection_factory_free(factory);
}

static bool leave_out_queues(coney_exchange *one_exchange, coney_queue *one_queue, coney_binding *binding, void *user)
{
    (void)user;
    if (one_exchange)
        one_exchange->type = CONEY_FANOUT;
    return !one_queue && !binding;
}

static void test_customizer_changes_and_leaves_out(void **state)
{
    (void)state;
    use_admin(&(coney_admin_options){.customize = leave_out_queues});
    add(queue_and_binding(&(coney_queue){.name = queue}));
    assert_false(exists(queue));
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = exchange, .type = CONEY_FANOUT}));
}

/* ---- single declarations ---- */

static void test_remembered_declarations_come_back(void **state)
{
    (void)state;
    const coney_binding binding = {.exchange = exchange, .destination = queue, .routing_key = "key"};
    use_admin(&(coney_admin_options){.remember_declarations = true});
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = queue}, NULL));
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = queue}, NULL));
    assert_ok(coney_admin_declare_exchange(admin, &(coney_exchange){.name = exchange, .type = CONEY_TOPIC}));
    assert_ok(coney_admin_declare_binding(admin, &binding));
    delete_and_lose();
    expect_queue_comes();
    send_through_exchange();
    test_wait_for_depth(queue, 1);
}

static void test_deleted_declaration_is_not_remembered(void **state)
{
    (void)state;
    use_admin(&(coney_admin_options){.remember_declarations = true});
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = queue}, NULL));
    assert_ok(coney_admin_delete_queue(admin, queue, NULL));
    test_kill_connections();
    expect_queue_stays_away();
}

static void test_reset_forgets_what_was_remembered(void **state)
{
    (void)state;
    use_admin(&(coney_admin_options){.remember_declarations = true});
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = queue}, NULL));
    assert_ok(coney_admin_forget_remembered(admin));
    delete_and_lose();
    expect_queue_stays_away();
}

static void test_single_declaration_is_not_remembered_unless_asked_for(void **state)
{
    (void)state;
    use_admin(NULL);
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = queue}, NULL));
    delete_and_lose();
    expect_queue_stays_away();
}

/* ---- deleting and purging ---- */

static void test_condition_of_a_classic_queue_is_the_brokers(void **state)
{
    (void)state;
    uint32_t count;
    const coney_delete_options if_empty = {.if_empty = true, .kind = CONEY_CLASSIC};
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .kind = CONEY_CLASSIC}, NULL));
    test_send_numbers(queue, 1);
    test_wait_for_depth(queue, 1);
    assert_fails(coney_admin_delete_queue_if(client.admin, queue, &if_empty, NULL), CONEY_E_PRECONDITION_FAILED, "406");
    assert_ok(coney_admin_purge_queue(client.admin, queue, &count));
    assert_int_equal(count, 1);
    assert_ok(coney_admin_delete_queue_if(client.admin, queue, &if_empty, &count));
    assert_false(exists(queue));
    assert_ok(coney_admin_delete_queue_if(client.admin, queue, &if_empty, &count));
    assert_int_equal(count, 0);
}

/* The broker would close the connection: the purge that begins before does not end then. */
static void test_condition_of_a_quorum_queue_costs_no_connection(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = queue, .kind = CONEY_QUORUM});
    use_admin(NULL);
    add(topology);
    test_send_numbers(queue, 1);
    test_wait_for_depth(queue, 1);
    const coney_delete_options if_empty = {.if_empty = true}, if_unused = {.if_unused = true};
    coney_connection_info before, after;
    assert_ok(coney_connection_factory_info(client.factory, CONEY_CONSUMING, &before));
    assert_fails(coney_admin_delete_queue_if(admin, queue, &if_empty, NULL), CONEY_E_PRECONDITION_FAILED,
                 "it has 1 messages, and if_empty is set");
    assert_ok(coney_admin_delete_queue_if(admin, queue, &if_unused, NULL));
    assert_ok(coney_connection_factory_info(client.factory, CONEY_CONSUMING, &after));
    assert_int_equal(before.times_opened, after.times_opened);
    assert_false(exists(queue));
}

static void test_condition_of_an_unknown_kind_is_refused(void **state)
{
    (void)state;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    assert_fails(coney_admin_delete_queue_if(client.admin, queue, &(coney_delete_options){.if_empty = true}, NULL),
                 CONEY_E_INVALID, "set kind in coney_delete_options");
    assert_true(exists(queue));
}

static void test_used_exchange_is_not_deleted(void **state)
{
    (void)state;
    use_admin(NULL);
    add(queue_and_binding(&(coney_queue){.name = queue}));
    bool is_there;
    assert_fails(coney_admin_delete_exchange_if_unused(admin, exchange), CONEY_E_PRECONDITION_FAILED, "in use");
    assert_ok(coney_admin_exchange_exists(admin, exchange, &is_there));
    assert_true(is_there);
    assert_ok(coney_admin_delete_queue(admin, queue, NULL));
    assert_ok(coney_admin_delete_exchange_if_unused(admin, exchange));
    assert_ok(coney_admin_exchange_exists(admin, exchange, &is_there));
    assert_false(is_there);
}

static atomic_int purges;
static uint32_t purged;
static coney_status purge_status;

static void on_purged(uint32_t message_count, const coney_error *error, void *user)
{
    (void)user;
    purged = message_count;
    purge_status = error ? error->status : CONEY_OK;
    atomic_fetch_add(&purges, 1);
}

static void test_purge_without_waiting_tells_its_outcome(void **state)
{
    (void)state;
    atomic_store(&purges, 0);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    test_send_numbers(queue, 3);
    test_wait_for_depth(queue, 3);
    assert_ok(coney_admin_purge_queue_async(client.admin, queue, on_purged, NULL));
    test_wait_for(&purges, 1);
    assert_int_equal(purge_status, CONEY_OK);
    assert_int_equal(purged, 3);
    assert_ok(coney_admin_purge_queue_async(client.admin, "coney.no.such.queue", on_purged, NULL));
    test_wait_for(&purges, 2);
    assert_int_equal(purge_status, CONEY_E_NOT_FOUND);
}

static void test_purge_of_a_stream_is_refused_before_the_broker_is_asked(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = queue, .kind = CONEY_STREAM});
    use_admin(NULL);
    add(topology);
    assert_fails(coney_admin_purge_queue(admin, queue, NULL), CONEY_E_INVALID, "it is a stream");
    assert_fails(coney_admin_purge_queue_async(admin, queue, NULL, NULL), CONEY_E_INVALID, "it is a stream");
}

/* ---- refusals ---- */

static coney_queue impossible(coney_on_refusal on_refusal)
{
    return (coney_queue){.name = queue, .max_length = 5, .on_refusal = on_refusal};
}

static coney_container *container;

static void make_container(void)
{
    const coney_listener listener = {
        .declare = &(coney_queue){.anonymous = true}, .id = "own", .on_message = count_one};
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
}

static void test_ignored_refusal_is_in_nobodys_way(void **state)
{
    (void)state;
    coney_health health;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    use_admin(NULL);
    const coney_queue one = impossible(CONEY_REFUSAL_IGNORE);
    coney_topology *topology = queue_and_binding(&one);
    add(topology);
    make_container();
    assert_ok(coney_container_start(container));
    assert_ok(coney_container_health(container, &health));
    assert_true(health.ready);
    send_through_exchange();
    coney_container_free(container);
}

static coney_status send_once(void)
{
    coney_message *message = test_text("x");
    coney_status status = coney_template_send(client.sender, queue, message, &(coney_send_options){.exchange = ""});
    coney_message_unref(message);
    return status;
}

static void test_refusal_that_must_not_be_stops_containers_and_sends(void **state)
{
    (void)state;
    coney_health health = {.live = true};
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    make_container();
    assert_ok(coney_container_start(container));
    const coney_queue one = impossible(CONEY_REFUSAL_FAIL);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &one);
    use_admin(&(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    for (int waited = -20000; health.live;) { /* five repetitions take 17 s */
        test_wait_a_little(&waited, "the container stops", __FILE__, __LINE__);
        assert_ok(coney_container_health(container, &health));
    }
    assert_fails(send_once(), CONEY_E_PRECONDITION_FAILED, "not sent, because queue");
    assert_ok(coney_container_stop(container));
    assert_fails(coney_container_start(container), CONEY_E_PRECONDITION_FAILED, "all repetitions were refused");
    assert_ok(coney_admin_delete_queue(client.admin, queue, NULL));
    assert_ok(coney_admin_declare(admin));
    assert_ok(send_once());
    assert_ok(coney_container_start(container));
    coney_container_free(container);
}

/* ---- ends of bindings ---- */

static void declare_binding_to(const char *destination, bool external, bool refuse)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange});
    if (external)
        coney_topology_add_queue(topology, &(coney_queue){.name = destination, .external = true});
    coney_topology_bind(topology, exchange, destination, "key");
    coney_topology_bind(topology, "amq.topic", destination, "key");
    use_admin(&(coney_admin_options){.topology = topology, .refuse_unknown_ends = refuse});
    coney_topology_free(topology);
}

static void test_binding_to_a_queue_that_nobody_declares_is_one_warning(void **state)
{
    (void)state;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    test_log_start(CONEY_LOG_WARN);
    declare_binding_to(queue, false, false);
    assert_ok(coney_admin_declare(admin));
    assert_ok(coney_admin_declare(admin));
    assert_int_equal(test_log_count("neither a topology nor a listener of this factory declares queue"), 2);
    test_log_stop();
}

static void test_binding_to_an_external_queue_is_no_warning(void **state)
{
    (void)state;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    test_log_start(CONEY_LOG_WARN);
    declare_binding_to(queue, true, false);
    assert_ok(coney_admin_declare(admin));
    assert_int_equal(test_log_count("neither a topology nor a listener"), 0);
    test_log_stop();
}

static void test_binding_to_an_unknown_queue_is_refused_if_asked_for(void **state)
{
    (void)state;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue}, NULL));
    declare_binding_to(queue, false, true);
    assert_fails(coney_admin_declare(admin), CONEY_E_INVALID, "neither a topology nor a listener");
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = queue});
    add(topology);
    assert_ok(coney_admin_declare(admin));
}

/* ---- anonymous queues, and what a listener brings ---- */

static void test_anonymous_queue_of_an_admin_has_its_name(void **state)
{
    (void)state;
    coney_queue_info info;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.anonymous = true, .name_prefix = "coney.test."},
                                        &info));
    assert_memory_equal(info.name, "coney.test.", 11);
    assert_true(exists(info.name));
    assert_ok(coney_admin_delete_queue(client.admin, info.name, NULL));
}

static void start_with(const coney_queue_binding *bindings, size_t count)
{
    const coney_listener listener = {
        .id = "own", .bindings = bindings, .binding_count = count, .on_message = count_one};
    atomic_store(&handled, 0);
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
}

static void send_with_key(const char *key)
{
    coney_message *message = test_text("x");
    assert_ok(coney_template_send(client.sender, key, message, &(coney_send_options){.exchange = exchange}));
    coney_message_unref(message);
}

static void test_listener_brings_an_anonymous_queue_and_its_bindings(void **state)
{
    (void)state;
    char name[CONEY_NAME_SIZE];
    const char *const keys[] = {"order.paid", "order.sent", NULL};
    const coney_queue_binding binding = {.exchange = {.name = exchange, .type = CONEY_TOPIC}, .routing_keys = keys};
    start_with(&binding, 1);
    assert_ok(coney_container_queue_name(container, "own", name));
    assert_memory_equal(name, "spring.gen-", 11);
    send_with_key("order.paid");
    send_with_key("order.sent");
    test_wait_for(&handled, 2);
    test_kill_connections();
    assert_ok(coney_container_queue_name(container, "own", queue));
    assert_string_equal(name, queue);
    test_wait_until(coney_container_check(container) == CONEY_OK);
    send_with_key("order.paid");
    test_wait_for(&handled, 3);
    coney_container_free(container);
}

static void test_listener_brings_a_queue_with_several_bindings(void **state)
{
    (void)state;
    const char *const first[] = {"a", NULL}, *const second[] = {"b", NULL};
    const coney_queue_binding bindings[] = {
        {.queue = {.name = queue, .max_length = 50}, .exchange = {.name = exchange}, .routing_keys = first},
        {.exchange = {.name = "amq.direct"}, .routing_keys = second},
    };
    start_with(bindings, COUNT_OF(bindings));
    send_with_key("a");
    coney_message *message = test_text("x");
    assert_ok(coney_template_send(client.sender, "b", message, &(coney_send_options){.exchange = "amq.direct"}));
    coney_message_unref(message);
    test_wait_for(&handled, 2);
    coney_container_free(container);
}

static void test_wrong_bindings_of_a_listener_are_refused(void **state)
{
    (void)state;
    const char *const keys[] = {"a", NULL};
    const coney_queue_binding no_keys = {.exchange = {.name = exchange}};
    const coney_queue_binding bindings[] = {
        {.queue = {.name = "one"}, .exchange = {.name = exchange}, .routing_keys = keys},
        {.queue = {.name = "other"}, .exchange = {.name = exchange}, .routing_keys = keys},
    };
    coney_listener listener = {.bindings = bindings, .binding_count = 2, .on_message = count_one};
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID,
                 "bindings[1] is for queue 'other', and the listener's queue is 'one'");
    listener.bindings = &no_keys;
    listener.binding_count = 1;
    assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID, "has no routing_keys");
    listener.bindings = NULL;
    assert_fails(coney_container_listen(container, &listener), CONEY_E_INVALID, "bindings is NULL");
    coney_container_free(container);
}

/* A node may be configured to refuse such a queue: then only that queue fails. */
static void test_transient_queue_is_a_warning_or_a_refusal_from_4_3_on(void **state)
{
    (void)state;
    static const char warning[] = "is transient and not exclusive; RabbitMQ refuses such queues from 4.3 on";
    if (!plain_broker_is_from(4, 3))
        test_leave_out("the broker is older than 4.3");
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange});
    coney_topology_add_queue(topology, &(coney_queue){.name = queue, .transient = true});
    test_log_start(CONEY_LOG_WARN);
    use_admin(&(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    coney_admin_declare(admin); /* the connection may be closed over it, until it is known that it is this queue */
    bool is_accepted = coney_admin_declare(admin) == CONEY_OK;
    if (!is_accepted)
        assert_non_null(strstr(coney_last_error(), "transient_nonexcl_queues"));
    bool is_there;
    assert_ok(coney_admin_exchange_exists(admin, exchange, &is_there));
    assert_true(is_there);
    assert_int_equal(test_log_count(warning), is_accepted ? 1 : 0);
    test_log_stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        changes_test(test_added_topology_is_declared_and_comes_back),
        changes_test(test_adding_what_is_there_adds_nothing),
        changes_test(test_forgotten_queue_does_not_come_back),
        changes_test(test_large_topology_takes_as_long_as_answers_come),
        changes_test(test_customizer_changes_and_leaves_out),
        changes_test(test_remembered_declarations_come_back),
        changes_test(test_deleted_declaration_is_not_remembered),
        changes_test(test_reset_forgets_what_was_remembered),
        changes_test(test_single_declaration_is_not_remembered_unless_asked_for),
        changes_test(test_condition_of_a_classic_queue_is_the_brokers),
        changes_test(test_condition_of_a_quorum_queue_costs_no_connection),
        changes_test(test_condition_of_an_unknown_kind_is_refused),
        changes_test(test_used_exchange_is_not_deleted),
        changes_test(test_purge_without_waiting_tells_its_outcome),
        changes_test(test_purge_of_a_stream_is_refused_before_the_broker_is_asked),
        changes_test(test_ignored_refusal_is_in_nobodys_way),
        changes_test(test_refusal_that_must_not_be_stops_containers_and_sends),
        changes_test(test_binding_to_a_queue_that_nobody_declares_is_one_warning),
        changes_test(test_binding_to_an_external_queue_is_no_warning),
        changes_test(test_binding_to_an_unknown_queue_is_refused_if_asked_for),
        changes_test(test_anonymous_queue_of_an_admin_has_its_name),
        changes_test(test_listener_brings_an_anonymous_queue_and_its_bindings),
        changes_test(test_listener_brings_a_queue_with_several_bindings),
        changes_test(test_wrong_bindings_of_a_listener_are_refused),
        changes_test(test_transient_queue_is_a_warning_or_a_refusal_from_4_3_on),
    };
    return cmocka_run_group_tests(tests, test_client_setup, test_client_teardown);
}
