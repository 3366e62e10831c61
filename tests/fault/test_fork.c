/* SPDX-License-Identifier: MIT */
/* A child of fork(): the parent's factory answers CONEY_E_STATE there and touches nothing, and the
 * parent does not notice. */
#include "support/child.h"
#include "support/fault_consumer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 10000 };

static cny_heard all[CNY_MAX_HEARD];

static void use_everything(void)
{
    fault_reset_handler();
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_use_container(NULL, fault_obey, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_ask());
    /* The end of the admin's channel is the last thing to be said. */
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_CLOSE_METHOD) == 1);
}

static void expect_parent_to_go_on(int heard_before)
{
    assert_int_equal(cny_broker_heard(fault.broker, all), heard_before); /* the child has said nothing */
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, coney_container_check(fault.container));
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 2);
}

/* --- calls --- */

static coney_status never_called(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)reply;
    (void)user;
    return CONEY_E_SYSTEM;
}

/* Which of the calls in the child is wrong, counted from 1; 0 if none is. */
static int call_everything(void)
{
    coney_connection_info info;
    coney_queue_info queue;
    coney_message *message = NULL, *received;
    void *object;
    if (coney_message_new(&message, "hello", 5, NULL) != CONEY_OK)
        return 100;
    const coney_status seen[] = {
        coney_template_send(fault.sender, "key", message, NULL),
        coney_template_send_async(fault.sender, "key", message, NULL, NULL, NULL),
        coney_template_wait_for_confirms(fault.sender, LONG_MS),
        coney_template_receive(fault.sender, "orders", &received, 0),
        coney_template_receive_and_convert(fault.sender, "orders", &object, LONG_MS),
        coney_template_receive_and_reply(fault.sender, "orders", NULL, NULL, never_called, NULL),
        coney_admin_queue_info(fault.admin, "orders", &queue),
        coney_admin_declare_queue(fault.admin, &(coney_queue){.name = "orders"}, NULL),
        coney_connection_factory_info(fault.factory, CONEY_CONSUMING, &info),
        coney_connection_factory_connect(fault.factory),
        coney_connection_factory_close(fault.factory),
        coney_container_check(fault.container),
        coney_container_stop(fault.container),
        coney_container_start(fault.container),
    };
    for (int i = 0; i < (int)(sizeof seen / sizeof *seen); i++) {
        if (seen[i] != CONEY_E_STATE)
            return i + 1;
    }
    return strstr(coney_last_error(), "fork") ? 0 : 101;
}

static coney_scope *scope;

static int use_scope(void)
{
    coney_scope *other;
    coney_message *message = NULL;
    const coney_status seen[] = {
        coney_scope_send(scope, "key", message, NULL),
        coney_scope_receive(scope, "orders", &message),
        coney_scope_commit(scope),
        coney_scope_rollback(scope),
        coney_scope_new(&other, fault.sender, NULL),
    };
    coney_scope_free(scope); /* the parent's: nothing happens */
    for (int i = 0; i < (int)(sizeof seen / sizeof *seen); i++) {
        if (seen[i] != CONEY_E_STATE)
            return i + 1;
    }
    return 0;
}

static void test_scope_is_of_no_use_in_a_child(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK,
                        coney_scope_new(&scope, fault.sender, &(coney_scope_options){.mode = CONEY_SCOPE_TRANSACTED}));
    test_expect_good_child(use_scope);
    fault_expect_status(CONEY_OK, coney_scope_commit(scope));
    coney_scope_free(scope);
}

static void test_calls_in_a_child_answer_state_and_write_nothing(void **state)
{
    (void)state;
    use_everything();
    int before = cny_broker_heard(fault.broker, all);
    test_expect_good_child(call_everything);
    expect_parent_to_go_on(before);
}

static bool is_refused(coney_status status)
{
    return status == CONEY_E_STATE && strstr(coney_last_error(), "fork");
}

static int make_everything(void)
{
    coney_template *sender;
    coney_admin *admin;
    coney_container *container;
    if (!is_refused(coney_template_new(&sender, fault.factory, NULL)))
        return 1;
    if (!is_refused(coney_admin_new(&admin, fault.factory, NULL)))
        return 2;
    if (!is_refused(coney_container_new(&container, fault.factory, NULL)))
        return 3;
    const coney_listener listener = {.queue = "orders", .on_message = fault_obey};
    return is_refused(coney_container_listen(fault.container, &listener)) ? 0 : 4;
}

static void test_nothing_is_made_of_the_parents_factory_in_a_child(void **state)
{
    (void)state;
    use_everything();
    int before = cny_broker_heard(fault.broker, all);
    test_expect_good_child(make_everything);
    expect_parent_to_go_on(before);
}

static int free_everything(void)
{
    coney_container_free(fault.container);
    coney_template_free(fault.sender);
    coney_admin_free(fault.admin);
    coney_connection_factory_free(fault.factory);
    return 0;
}

static void test_frees_in_a_child_do_nothing(void **state)
{
    (void)state;
    use_everything();
    int before = cny_broker_heard(fault.broker, all);
    test_expect_good_child(free_everything);
    expect_parent_to_go_on(before);
}

/* --- a delivery that the parent has kept --- */

static _Atomic(coney_delivery *) kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_store(&kept, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static void deliver_one(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_publishes(peer))
        return;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hello");
    fault_expect_ack(peer, 1);
}

/* The handler, so that the test's is the only reference. */
static bool has_returned(void)
{
    coney_listener_statistics counts;
    return coney_container_statistics(fault.container, "orders", &counts) == CONEY_OK && counts.handled == 1;
}

static int use_delivery(void)
{
    coney_message *message;
    coney_delivery *delivery = atomic_load(&kept);
    if (coney_message_new(&message, "hello", 5, NULL) != CONEY_OK)
        return 100;
    if (!is_refused(coney_delivery_settle(delivery, CONEY_REJECT)))
        return 1;
    if (!is_refused(coney_delivery_reply(delivery, message)))
        return 2;
    if (!is_refused(coney_delivery_convert_and_reply(delivery, json_null())))
        return 3;
    if (!is_refused(coney_delivery_send(delivery, "", "key", message)))
        return 4;
    if (strcmp(coney_delivery_consumer_tag(delivery), "") != 0)
        return 5;
    coney_delivery_unref(delivery);
    return 0;
}

static void test_delivery_is_of_no_use_in_a_child_and_remains_the_parents(void **state)
{
    (void)state;
    atomic_store(&kept, NULL);
    fault_listen(deliver_one, NULL,
                 (coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .send_to = "replies"});
    fault_wait_until(has_returned());
    int before = cny_broker_heard(fault.broker, all);
    test_expect_good_child(use_delivery);
    assert_int_equal(cny_broker_heard(fault.broker, all), before);
    coney_delivery *delivery = atomic_exchange(&kept, NULL);
    fault_expect_status(CONEY_OK, coney_delivery_settle(delivery, CONEY_ACK));
    coney_delivery_unref(delivery);
    cny_broker_wait(fault.broker, 1);
}

/* --- a loss in the parent, while the child lives --- */

/* To hang up would not do: the child has this end of the socket, too. */
static void shut_down_when_told(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD));
    cny_peer_wait_go(peer);
    cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down");
}

static void test_parent_recovers_though_a_child_still_has_its_socket(void **state)
{
    (void)state;
    int pipes[2];
    char end;
    fault_start(shut_down_when_told, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[1]);
        _exit(read(pipes[0], &end, 1) == 0 ? 0 : 1); /* until the parent closes the other end */
    }
    close(pipes[0]);
    cny_broker_go(fault.broker);
    coney_connection_info info = fault_wait_for_opening(CONEY_CONSUMING, 2);
    coney_status status = fault_ask();
    close(pipes[1]);
    waitpid(child, NULL, 0);
    assert_int_equal(info.reason, CONEY_E_LOST);
    fault_expect_status(CONEY_OK, status);
}

/* --- another program --- */

static bool is_the_clients(int fd)
{
    struct sockaddr_in peer = {.sin_port = 0};
    socklen_t size = sizeof peer;
    return getpeername(fd, (struct sockaddr *)&peer, &size) == 0 &&
           ntohs(peer.sin_port) == cny_broker_port(fault.broker);
}

static void test_sockets_neither_block_nor_are_inherited_by_programs(void **state)
{
    (void)state;
    enum { MOST_FDS = 1024 };
    int sockets = 0;
    use_everything();
    for (int fd = 0; fd < MOST_FDS; fd++) {
        if (!is_the_clients(fd))
            continue;
        sockets++;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    }
    assert_int_equal(sockets, 2);
}

/* --- a factory of its own --- */

#ifndef __SANITIZE_THREAD__ /* which allows no threads in a child of a process with threads */
static int use_a_new_factory(void)
{
    coney_connection_factory *factory;
    coney_template *sender;
    coney_message *message;
    if (coney_connection_factory_new(&factory, cny_broker_uri(fault.broker), NULL) != CONEY_OK)
        return 1;
    if (coney_template_new(&sender, factory, NULL) != CONEY_OK)
        return 2;
    if (coney_message_new(&message, "hello", 5, NULL) != CONEY_OK)
        return 3;
    if (coney_template_send(sender, "key", message, NULL) != CONEY_OK)
        return 4;
    if (coney_connection_factory_close(factory) != CONEY_OK)
        return 5;
    coney_message_unref(message);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    return 0;
}

static void test_child_may_make_a_factory_of_its_own(void **state)
{
    (void)state;
    use_everything();
    test_expect_good_child(use_a_new_factory);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 3);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_calls_in_a_child_answer_state_and_write_nothing),
        fault_test(test_scope_is_of_no_use_in_a_child),
        fault_test(test_nothing_is_made_of_the_parents_factory_in_a_child),
        fault_test(test_frees_in_a_child_do_nothing),
        fault_test(test_delivery_is_of_no_use_in_a_child_and_remains_the_parents),
        fault_test(test_parent_recovers_though_a_child_still_has_its_socket),
        fault_test(test_sockets_neither_block_nor_are_inherited_by_programs),
#ifndef __SANITIZE_THREAD__
        fault_test(test_child_may_make_a_factory_of_its_own),
#endif
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
