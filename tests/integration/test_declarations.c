/* SPDX-License-Identifier: MIT */
/* What several bring together, admins and listeners, is declared in one order, comes back, and is told where it does
 * not. */
#include "support/container_fixture.h"
#include "support/elapsed.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/base.h"

/* ---- what a test makes, and its teardown ends ---- */

static coney_connection_factory *own; /* a factory of the test's own, so that nothing is connected yet */
static coney_admin *admin;
static coney_template *sender;
static char exchange[256], password_user[64];

static int set_up(void **state)
{
    snprintf(exchange, sizeof exchange, "%s", test_name("declarations.exchange"));
    return test_listening_setup(state);
}

static int tear_down(void **state)
{
    coney_container_free(here.container);
    here.container = NULL;
    coney_template_free(sender);
    coney_admin_free(admin);
    coney_connection_factory_free(own);
    sender = NULL;
    admin = NULL;
    own = test_events_factory = NULL;
    coney_admin_delete_exchange(client.admin, exchange);
    if (*password_user) {
        char command[128];
        snprintf(command, sizeof command, "delete_user %s", password_user);
        test_rabbitmqctl(command);
        *password_user = '\0';
    }
    return test_listening_teardown(state);
}

#define declarations_test(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

static void use_factory(const coney_connection_factory_options *options)
{
    assert_ok(coney_connection_factory_new(&own, test_uri(), options));
    assert_ok(coney_template_new(&sender, own, &(coney_template_options){.exchange = exchange, .timeout_ms = 20000}));
}

/* Takes the topology. */
static void use_admin(coney_topology *topology)
{
    coney_status status = coney_admin_new(&admin, own, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    assert_ok(status);
}

static coney_topology *exchange_and_binding(const char *queue)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = exchange, .type = CONEY_FANOUT, .transient = true});
    coney_topology_bind(topology, exchange, queue, "key");
    return topology;
}

static void make_container(const coney_container_options *options)
{
    coney_container_options with_events = options ? *options : (coney_container_options){0};
    if (!with_events.on_event)
        with_events.on_event = test_record_event;
    with_events.workers = 2;
    test_events_factory = own;
    assert_ok(coney_container_new(&here.container, own, &with_events));
}

static void listen_declaring(const coney_queue *queue)
{
    assert_ok(coney_container_listen(
        here.container, &(coney_listener){.declare = queue, .on_message = test_handle, .user = &here.handler}));
}

static coney_status send_text(const char *text, const char *to, const char *key)
{
    coney_message *message = test_text(text);
    coney_status status = coney_template_send(sender, key, message, &(coney_send_options){.exchange = to});
    coney_message_unref(message);
    return status;
}

/* Another program's, which does not wait for what this one declares. */
static coney_status send_by_another(const char *text)
{
    coney_message *message = test_text(text);
    coney_status status =
        coney_template_send(client.sender, "key", message, &(coney_send_options){.exchange = exchange});
    coney_message_unref(message);
    return status;
}

static coney_declaration found;

static void find_with_state(const coney_declaration *declaration, void *user)
{
    const coney_declaration_state *wanted = user;
    if (declaration->state == *wanted && !*found.name)
        found = *declaration;
}

static bool has_declaration(coney_declaration_state state)
{
    found = (coney_declaration){0};
    assert_ok(coney_connection_factory_list_declarations(own, find_with_state, &state));
    return *found.name;
}

/* ---- pieces from several hands ---- */

static void test_binding_of_an_admin_is_made_when_a_listener_brings_its_queue(void **state)
{
    (void)state;
    use_factory(NULL);
    use_admin(exchange_and_binding(here.other));
    make_container(NULL);
    listen_declaring(&(coney_queue){.name = here.other});
    assert_ok(coney_container_start(here.container));
    assert_true(test_health().ready);
    assert_ok(send_by_another("first"));
    test_wait_for(&here.handler.calls, 1);
}

static void test_binding_is_made_when_an_admin_call_declares_its_queue(void **state)
{
    (void)state;
    use_factory(NULL);
    use_admin(exchange_and_binding(here.other));
    assert_ok(coney_connection_factory_connect(own));
    test_wait_until(has_declaration(CONEY_DECLARATION_REFUSED));
    assert_int_equal(found.kind, CONEY_DECLARATION_BINDING);
    assert_int_equal(found.broker_code, 404);
    assert_ok(coney_admin_declare_queue(admin, &(coney_queue){.name = here.other}, NULL));
    test_wait_until(!has_declaration(CONEY_DECLARATION_REFUSED) && !has_declaration(CONEY_DECLARATION_PENDING));
    assert_ok(send_by_another("bound"));
    test_wait_for_depth(here.other, 1);
}

static void test_deleted_queue_comes_back_with_its_bindings(void **state)
{
    (void)state;
    use_factory(NULL);
    use_admin(exchange_and_binding(here.other));
    make_container(NULL);
    listen_declaring(&(coney_queue){.name = here.other});
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_admin_delete_queue(client.admin, here.other, NULL));
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 1);
    assert_ok(send_by_another("after the deletion"));
    test_wait_for(&here.handler.calls, 1);
}

static void test_queue_that_is_deleted_again_soon_comes_back_soon(void **state)
{
    (void)state;
    use_factory(NULL);
    use_admin(exchange_and_binding(here.other));
    make_container(&(coney_container_options){.resubscribe_interval_ms = 60000});
    listen_declaring(&(coney_queue){.name = here.other});
    assert_ok(coney_container_start(here.container));
    for (int times = 1; times <= 2; times++) {
        assert_ok(coney_admin_delete_queue(client.admin, here.other, NULL));
        test_wait_for_events(CONEY_CONSUMER_RESTARTED, times);
    }
    assert_ok(send_by_another("after the second deletion"));
    test_wait_for(&here.handler.calls, 1);
}

/* An auto-delete queue goes with its last consumer. */
static void expect_bindings_after_a_restart(coney_queue queue)
{
    queue.name = here.other;
    coney_topology *topology = exchange_and_binding(here.other);
    coney_topology_add_queue(topology, &queue);
    use_factory(NULL);
    use_admin(topology);
    make_container(NULL);
    listen_declaring(&queue);
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_stop(here.container));
    assert_ok(coney_container_start(here.container));
    assert_ok(send_by_another("after the restart"));
    test_wait_for(&here.handler.calls, 1);
    test_kill_connections();
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 1);
    test_wait_until(test_health().ready);
    test_wait_until(send_by_another("after the loss") == CONEY_OK);
    test_wait_for(&here.handler.calls, 2);
}

static void test_auto_delete_queue_in_both_places_has_its_bindings_after_a_restart_and_a_loss(void **state)
{
    (void)state;
    expect_bindings_after_a_restart((coney_queue){.auto_delete = true});
}

static void test_exclusive_queue_in_both_places_has_its_bindings_after_a_restart_and_a_loss(void **state)
{
    (void)state;
    expect_bindings_after_a_restart((coney_queue){.exclusive = true});
}

/* Such as one of this program's last run, whose end the broker has not seen yet. */
static void test_exclusive_queue_that_another_connection_holds_comes_with_its_bindings_when_that_ends(void **state)
{
    (void)state;
    const coney_queue queue = {.name = here.other, .exclusive = true};
    coney_connection_factory *holder;
    coney_admin *holding;
    assert_ok(coney_connection_factory_new(&holder, test_uri(), NULL));
    assert_ok(coney_admin_new(&holding, holder, NULL));
    assert_ok(coney_admin_declare_queue(holding, &queue, NULL));
    coney_topology *topology = exchange_and_binding(here.other);
    coney_topology_add_queue(topology, &queue);
    use_factory(NULL);
    use_admin(topology);
    make_container(&(coney_container_options){.resubscribe_interval_ms = 60000});
    listen_declaring(&queue);
    coney_status status = coney_container_start(here.container);
    coney_health health = test_health();
    coney_admin_free(holding);
    coney_connection_factory_free(holder);
    assert_int_equal(status, CONEY_OK);
    assert_true(health.live && !health.ready);
    assert_int_equal(health.status, CONEY_E_RESOURCE_LOCKED);
    test_wait_until(test_health().ready);
    assert_ok(send_by_another("after the other one's end"));
    test_wait_for(&here.handler.calls, 1);
}

/* A fanout subscriber's queue, which goes with its consumer, is not waited for. */
static void test_queue_of_a_topology_that_went_is_declared_at_once_when_its_consumer_misses_it(void **state)
{
    (void)state;
    coney_topology *topology = exchange_and_binding(here.other);
    coney_topology_add_queue(topology, &(coney_queue){.name = here.other, .auto_delete = true});
    use_factory(NULL);
    use_admin(topology);
    make_container(&(coney_container_options){.resubscribe_interval_ms = 60000});
    assert_ok(coney_container_listen(here.container, &(coney_listener){.queue = here.other,
                                                                       .on_message = test_handle,
                                                                       .user = &here.handler,
                                                                       .missing_queue_is_fatal = true}));
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_stop(here.container));
    int64_t began = cny_now_ms();
    assert_ok(coney_container_start(here.container));
    test_expect_elapsed(began, 0, 5000);
    assert_ok(send_by_another("at once"));
    test_wait_for(&here.handler.calls, 1);
}

static void test_admin_made_while_the_connection_is_open_declares_at_once(void **state)
{
    (void)state;
    coney_topology *topology = exchange_and_binding(here.other);
    coney_topology_add_queue(topology, &(coney_queue){.name = here.other});
    use_factory(NULL);
    assert_ok(coney_connection_factory_connect(own));
    use_admin(topology);
    test_wait_until(send_by_another("declared") == CONEY_OK);
    test_wait_for_depth(here.other, 1);
}

/* ---- refusals are told ---- */

static atomic_int told, told_as_made;
static coney_declaration last_told, last_made;

static void record(const coney_declaration *declaration, void *user)
{
    (void)user;
    bool is_made = declaration->state == CONEY_DECLARATION_DECLARED;
    *(is_made ? &last_made : &last_told) = *declaration;
    atomic_fetch_add(is_made ? &told_as_made : &told, 1);
}

static void test_refused_queue_that_is_there_is_told_and_does_no_harm(void **state)
{
    (void)state;
    atomic_store(&told, 0);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = here.queue, .max_length = 7});
    use_factory(&(coney_connection_factory_options){.on_declaration = record});
    make_container(NULL);
    assert_ok(coney_container_listen(
        here.container, &(coney_listener){.queue = here.queue, .on_message = test_handle, .user = &here.handler}));
    use_admin(topology);
    assert_ok(coney_container_start(here.container));
    test_wait_for(&told, 1);
    assert_string_equal(last_told.name, here.queue);
    assert_int_equal(last_told.state, CONEY_DECLARATION_FOUND);
    assert_int_equal(last_told.broker_code, 406);
    assert_non_null(strstr(last_told.text, "inequivalent arg 'x-max-length'"));
    assert_non_null(strstr(last_told.text, "policy"));
    test_wait_for_events(CONEY_DECLARATION_NOT_MADE, 1);
    assert_int_equal(test_event_at(CONEY_DECLARATION_NOT_MADE, 0).broker_code, 406);
    assert_true(has_declaration(CONEY_DECLARATION_FOUND));
    assert_true(test_health().ready);
    assert_ok(coney_container_check(here.container));
    assert_ok(send_text("goes on", "", here.queue));
    test_wait_for(&here.handler.calls, 1);
}

/* The way out that the refusal names: delete it, and declare again. */
static void test_declaration_that_succeeds_after_a_refusal_is_told(void **state)
{
    (void)state;
    atomic_store(&told, 0);
    atomic_store(&told_as_made, 0);
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = here.queue, .max_length = 7});
    use_factory(&(coney_connection_factory_options){.on_declaration = record});
    use_admin(topology);
    assert_fails(coney_admin_declare(admin), CONEY_E_PRECONDITION_FAILED, here.queue);
    test_wait_for(&told, 1);
    test_delete_queue(here.queue);
    assert_ok(coney_admin_declare(admin));
    test_wait_for(&told_as_made, 1);
    assert_string_equal(last_made.name, here.queue);
    assert_int_equal(last_made.status, CONEY_E_PRECONDITION_FAILED); /* the refusal before that */
    assert_int_equal(last_made.broker_code, 406);
    assert_ok(coney_admin_declare(admin));
    assert_int_equal(atomic_load(&told_as_made), 1);
}

static void test_thing_that_cannot_be_made_is_why_nothing_is_ready(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set_string(arguments, "x-overflow", "nonsense"));
    coney_topology_add_queue(topology, &(coney_queue){.name = here.other, .arguments = arguments});
    coney_table_free(arguments);
    use_factory(NULL);
    use_admin(topology);
    make_container(NULL);
    assert_ok(coney_container_listen(
        here.container, &(coney_listener){.queue = here.queue, .on_message = test_handle, .user = &here.handler}));
    assert_ok(coney_container_start(here.container));
    assert_true(has_declaration(CONEY_DECLARATION_REFUSED));
    coney_health health = test_health();
    assert_false(health.ready);
    assert_true(health.live);
    assert_int_equal(health.status, CONEY_E_PRECONDITION_FAILED);
    assert_non_null(strstr(health.reason, here.other));
    assert_fails(coney_container_check(here.container), CONEY_E_PRECONDITION_FAILED, here.other);
    coney_admin_free(admin); /* nobody wants it any more */
    admin = NULL;
    assert_true(test_health().ready);
}

static void test_topology_refuses_a_queue_without_a_name(void **state)
{
    (void)state;
    coney_topology *topology = coney_topology_new();
    assert_fails(coney_topology_add_queue(topology, &(coney_queue){.name = ""}), CONEY_E_INVALID,
                 "coney_admin_declare_queue()");
    coney_topology_free(topology);
}

/* ---- queues that operators own ---- */

/* Who may read and write, and declare nothing. */
static void use_factory_without_permission(void)
{
    char command[256], uri[256], user[32];
    snprintf(user, sizeof user, "nobody%d", (int)getpid());
    snprintf(command, sizeof command, "add_user %s secret", user);
    test_rabbitmqctl(command);
    snprintf(password_user, sizeof password_user, "%s", user); /* to be deleted */
    snprintf(command, sizeof command, "set_permissions %s '^$' '.*' '.*'", password_user);
    test_rabbitmqctl(command);
    snprintf(uri, sizeof uri, "amqp://%s:secret@127.0.0.1:%d", password_user, test_uri_port());
    assert_ok(coney_connection_factory_new(&own, uri, NULL));
    assert_ok(coney_template_new(&sender, own, NULL));
}

static coney_outcome fail_first(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    atomic_fetch_add(&handler->calls, 1);
    return coney_delivery_fail(delivery, CONEY_RETRY, "not today");
}

static void test_ladder_and_parking_queue_of_an_operator_are_used_as_they_are(void **state)
{
    (void)state;
    char retry[300], parking[300];
    snprintf(retry, sizeof retry, "%s.retry.200", here.queue);
    snprintf(parking, sizeof parking, "%s.parking", here.queue);
    assert_ok(coney_admin_declare_queue(
        client.admin,
        &(coney_queue){
            .name = retry, .message_ttl_ms = 200, .dead_letter_exchange = "", .dead_letter_routing_key = here.queue},
        NULL));
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = parking, .max_length = 1000}, NULL));
    use_factory_without_permission();
    make_container(NULL);
    assert_ok(coney_container_listen(here.container, &(coney_listener){.queue = here.queue,
                                                                       .on_message = fail_first,
                                                                       .user = &here.handler,
                                                                       .retry = {.delays_ms = {200}}}));
    coney_status status = coney_container_start(here.container);
    if (status == CONEY_OK) {
        assert_true(test_health().ready);
        assert_ok(send_text("parked", "", here.queue));
        test_wait_for_depth(parking, 1);
        assert_int_equal(atomic_load(&here.handler.calls), 2);
    }
    test_delete_queue(retry);
    test_delete_queue(parking);
    assert_int_equal(status, CONEY_OK);
}

static void test_ladder_that_may_not_be_declared_and_is_not_there_fails_the_start(void **state)
{
    (void)state;
    use_factory_without_permission();
    assert_ok(coney_connection_factory_connect(own)); /* so that it is declared while the container starts */
    for (int i = 0; i < 5; i++) {
        make_container(NULL);
        assert_ok(coney_container_listen(here.container, &(coney_listener){.queue = here.queue,
                                                                           .on_message = fail_first,
                                                                           .user = &here.handler,
                                                                           .retry = {.delays_ms = {200, 400}}}));
        assert_fails(coney_container_start(here.container), CONEY_E_ACCESS_REFUSED, "permission to configure");
        coney_container_free(here.container);
        here.container = NULL;
    }
}

static void test_parking_queue_with_a_limit_is_used(void **state)
{
    (void)state;
    char parking[300];
    snprintf(parking, sizeof parking, "%s.parking", here.queue);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = parking, .max_length = 1000}, NULL));
    use_factory(NULL);
    make_container(NULL);
    assert_ok(coney_container_listen(here.container, &(coney_listener){.queue = here.queue,
                                                                       .on_message = fail_first,
                                                                       .user = &here.handler,
                                                                       .retry = {.exhausted = CONEY_EXHAUSTED_PARK}}));
    coney_status status = coney_container_start(here.container);
    if (status == CONEY_OK) {
        assert_ok(send_text("parked", "", here.queue));
        test_wait_for_depth(parking, 1);
    }
    test_delete_queue(parking);
    assert_int_equal(status, CONEY_OK);
}

static void test_ladder_queue_with_another_argument_fails_the_start_and_names_it(void **state)
{
    (void)state;
    char retry[300];
    snprintf(retry, sizeof retry, "%s.retry.200", here.queue);
    test_make_queue(retry);
    use_factory(NULL);
    make_container(NULL);
    assert_ok(coney_container_listen(here.container, &(coney_listener){.queue = here.queue,
                                                                       .on_message = fail_first,
                                                                       .user = &here.handler,
                                                                       .retry = {.delays_ms = {200}}}));
    coney_status status = coney_container_start(here.container);
    char text[1024];
    snprintf(text, sizeof text, "%s", coney_last_error());
    test_delete_queue(retry);
    snprintf(retry, sizeof retry, "%s.parking", here.queue);
    test_delete_queue(retry);
    assert_int_equal(status, CONEY_E_PRECONDITION_FAILED);
    assert_non_null(strstr(text, "inequivalent arg 'x-"));
    assert_non_null(strstr(text, ".retry.200"));
}

/* RabbitMQ 3 takes -1 and drops the message at its first return. */
static void test_message_comes_back_again_and_again_to_a_queue_without_a_delivery_limit(void **state)
{
    (void)state;
    use_factory(NULL);
    make_container(NULL);
    atomic_store(&here.handler.outcome, CONEY_REQUEUE);
    listen_declaring(&(coney_queue){.name = here.other, .kind = CONEY_QUORUM, .delivery_limit = -1});
    assert_ok(coney_container_start(here.container));
    assert_ok(send_text("again and again", "", here.other));
    test_wait_until(atomic_load(&here.handler.calls) >= 4);
    atomic_store(&here.handler.outcome, CONEY_ACK);
    test_wait_for_depth(here.other, 0);
}

/* ---- what closes the connection ---- */

/* The harmful thing is among others; its name is told. */
static void expect_the_rest_to_go_on(coney_topology *topology, const char *harmful)
{
    use_factory(NULL);
    use_admin(topology);
    make_container(&(coney_container_options){.start_timeout_ms = 20000});
    assert_ok(coney_container_listen(
        here.container, &(coney_listener){.queue = here.queue, .on_message = test_handle, .user = &here.handler}));
    assert_ok(coney_container_start(here.container));
    assert_ok(send_text("all the same", exchange, "key"));
    test_wait_for(&here.handler.calls, 1);
    test_wait_until(!test_health().ready);
    assert_non_null(strstr(test_health().reason, harmful));
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(own, CONEY_CONSUMING, &info));
    assert_int_equal(info.times_opened, 1);
    assert_ok(send_text("still", exchange, "key"));
    test_wait_for(&here.handler.calls, 2);
}

/* RabbitMQ 3 closes the connection over an unknown exchange type, RabbitMQ 4 only the channel. */
static void test_unknown_exchange_type_costs_the_others_nothing_for_long(void **state)
{
    (void)state;
    coney_topology *topology = exchange_and_binding(here.queue);
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "no-such-type", .custom_type = "x-nothing"});
    expect_the_rest_to_go_on(topology, "unknown exchange type");
    test_wait_until(has_declaration(CONEY_DECLARATION_REFUSED));
    assert_string_equal(found.name, "no-such-type");
}

/* RabbitMQ 4.3 closes the connection over this argument. */
static void test_many_arguments_that_close_the_connection_cost_the_others_nothing_for_long(void **state)
{
    (void)state;
    if (!plain_broker_is_from(4, 3))
        test_leave_out(OLDER_THAN_4_3);
    coney_topology *topology = exchange_and_binding(here.queue);
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set_string(arguments, "x-queue-master-locator", "min-masters"));
    for (int i = 0; i < 20; i++) {
        char name[300];
        snprintf(name, sizeof name, "%.200s.%d", here.other, i);
        coney_topology_add_queue(topology, &(coney_queue){.name = name, .kind = CONEY_CLASSIC, .arguments = arguments});
    }
    coney_table_free(arguments);
    expect_the_rest_to_go_on(topology, "541 INTERNAL_ERROR");
}

/* RabbitMQ 4.3 closes the connection over a transient queue that is not exclusive. */
static void test_transient_queue_where_they_are_denied_costs_the_others_nothing_for_long(void **state)
{
    (void)state;
    if (!plain_broker_is_from(4, 3))
        test_leave_out(OLDER_THAN_4_3);
    coney_topology *topology = exchange_and_binding(here.queue);
    coney_topology_add_queue(topology, &(coney_queue){.name = here.other, .transient = true});
    coney_topology_bind(topology, exchange, here.other, "");
    expect_the_rest_to_go_on(topology, "541 INTERNAL_ERROR");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        declarations_test(test_binding_of_an_admin_is_made_when_a_listener_brings_its_queue),
        declarations_test(test_binding_is_made_when_an_admin_call_declares_its_queue),
        declarations_test(test_deleted_queue_comes_back_with_its_bindings),
        declarations_test(test_queue_that_is_deleted_again_soon_comes_back_soon),
        declarations_test(test_auto_delete_queue_in_both_places_has_its_bindings_after_a_restart_and_a_loss),
        declarations_test(test_exclusive_queue_in_both_places_has_its_bindings_after_a_restart_and_a_loss),
        declarations_test(test_exclusive_queue_that_another_connection_holds_comes_with_its_bindings_when_that_ends),
        declarations_test(test_queue_of_a_topology_that_went_is_declared_at_once_when_its_consumer_misses_it),
        declarations_test(test_admin_made_while_the_connection_is_open_declares_at_once),
        declarations_test(test_refused_queue_that_is_there_is_told_and_does_no_harm),
        declarations_test(test_declaration_that_succeeds_after_a_refusal_is_told),
        declarations_test(test_thing_that_cannot_be_made_is_why_nothing_is_ready),
        declarations_test(test_topology_refuses_a_queue_without_a_name),
        declarations_test(test_ladder_and_parking_queue_of_an_operator_are_used_as_they_are),
        declarations_test(test_ladder_that_may_not_be_declared_and_is_not_there_fails_the_start),
        declarations_test(test_parking_queue_with_a_limit_is_used),
        declarations_test(test_ladder_queue_with_another_argument_fails_the_start_and_names_it),
        declarations_test(test_message_comes_back_again_and_again_to_a_queue_without_a_delivery_limit),
        declarations_test(test_many_arguments_that_close_the_connection_cost_the_others_nothing_for_long),
        declarations_test(test_unknown_exchange_type_costs_the_others_nothing_for_long),
        declarations_test(test_transient_queue_where_they_are_denied_costs_the_others_nothing_for_long),
    };
    return cmocka_run_group_tests_name("declarations", tests, test_client_setup, test_client_teardown);
}
