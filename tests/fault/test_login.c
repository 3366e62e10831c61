/* SPDX-License-Identifier: MIT */
/* Brokers that do not let one in: refusals, silence, hang-ups, peers that speak something else and
 * addresses where nobody answers. */
#include "support/fault_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 500 };

static const coney_connection_factory_options impatient = {.connection_timeout_ms = CONNECT_MS};

/* A port of 127.0.0.1 on which nobody listens. */
static int dead_port(void)
{
    cny_broker *gone = cny_broker_start(&(cny_broker_options){0});
    int port = cny_broker_port(gone);
    cny_broker_stop(gone);
    return port;
}

static void use_uri(const char *format, int port, int other_port)
{
    char uri[128];
    snprintf(uri, sizeof uri, format, port, other_port);
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, &impatient));
}

/* --- refusals --- */

static void refuse_password(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
}

static void test_wrong_password_is_access_refused_in_the_brokers_words(void **state)
{
    (void)state;
    fault_start(refuse_password, NULL);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_connection_factory_connect(fault.factory));
    fault_expect_text("Login was refused");
    assert_int_equal(coney_last_error_details()->broker_code, 403);
    assert_true(coney_last_error_details()->fatal);
}

static const char guest_hint[] = "lets the user guest in from its own host only";

static void test_refused_guest_is_told_that_guest_is_local(void **state)
{
    (void)state;
    fault_start(refuse_password, NULL);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_connection_factory_connect(fault.factory));
    fault_expect_text(guest_hint);
}

static void test_other_refused_users_are_not(void **state)
{
    (void)state;
    fault.broker = cny_broker_start(&(cny_broker_options){.script = refuse_password});
    use_uri("amqp://carrot:orange@127.0.0.1:%d", cny_broker_port(fault.broker), 0);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_connection_factory_connect(fault.factory));
    assert_null(strstr(coney_last_error(), guest_hint));
}

static void refuse_vhost(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *open = cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    amqp_bytes_t vhost = ((amqp_connection_open_t *)open->args)->virtual_host;
    cny_peer_check(peer, vhost.len == 7 && memcmp(vhost.bytes, "nowhere", 7) == 0);
    cny_peer_close_connection(peer, 530, "NOT_ALLOWED - there is no such place");
}

static void test_missing_virtual_host_is_not_allowed_and_named(void **state)
{
    (void)state;
    fault.broker = cny_broker_start(&(cny_broker_options){.script = refuse_vhost});
    use_uri("amqp://127.0.0.1:%d/nowhere", cny_broker_port(fault.broker), 0);
    fault_expect_status(CONEY_E_NOT_ALLOWED, coney_connection_factory_connect(fault.factory));
    fault_expect_text("nowhere");
    fault_expect_text("there is no such place");
    assert_int_equal(coney_last_error_details()->broker_code, 530);
}

static void refuse_the_first(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0)
        refuse_password(peer, user);
}

static void test_connect_works_once_the_broker_has_come_round(void **state)
{
    (void)state;
    fault_start(refuse_the_first, NULL);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

static void test_refused_password_ends_a_send_at_once(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    fault_start(refuse_password, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_send(5000));
    test_expect_elapsed(began, 0, 1000);
}

/* --- silence --- */

static void say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void say_nothing_once_tuned(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void expect_timeout(void)
{
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_connect(fault.factory));
    test_expect_elapsed(began, CONNECT_MS - 50, CONNECT_MS);
}

static void test_peer_that_never_speaks_times_out(void **state)
{
    (void)state;
    fault_start(say_nothing, &impatient);
    expect_timeout();
    fault_expect_text(
        "the server has said nothing; is this an AMQP port? An HTTP port, such as RabbitMQ's 15672, waits");
}

static void test_peer_that_never_opens_the_virtual_host_times_out(void **state)
{
    (void)state;
    fault_start(say_nothing_once_tuned, &impatient);
    expect_timeout();
    assert_null(strstr(coney_last_error(), "HTTP"));
}

static void dribble(cny_peer *peer, void *user)
{
    (void)user;
    static const unsigned char half_frame[] = {1, 0, 0, 0, 0, 1, 0};
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_send_bytes(peer, half_frame, sizeof half_frame);
    while (cny_peer_silence(peer, 50))
        cny_peer_send_bytes(peer, "", 1);
}

static void test_peer_that_dribbles_times_out_all_the_same(void **state)
{
    (void)state;
    fault_start(dribble, &impatient);
    expect_timeout();
}

static void test_sends_deadline_counts_while_connecting(void **state)
{
    (void)state;
    fault_start(say_nothing, NULL);
    fault_use_template(NULL);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(300));
    test_expect_elapsed(began, 250, 300);
}

static void test_free_ends_a_login_at_once(void **state)
{
    (void)state;
    fault_start(say_nothing_once_tuned, &(coney_connection_factory_options){.close_timeout_ms = 5000});
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_CONNECT, fault_send(100));
    int64_t began = cny_now_ms();
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    test_expect_elapsed(began, 0, 0);
}

static void test_free_does_not_wait_for_a_login(void **state)
{
    (void)state;
    fault_start(say_nothing, &(coney_connection_factory_options){.close_timeout_ms = 300});
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_CONNECT, fault_send(100));
    int64_t began = cny_now_ms();
    coney_template_free(fault.sender);
    coney_connection_factory_free(fault.factory);
    fault.sender = NULL;
    fault.factory = NULL;
    test_expect_elapsed(began, 0, 300);
}

/* --- hang-ups and other languages --- */

static void hang_up_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void hang_up_after_the_password(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_hang_up(peer);
}

static void reset_after_the_password(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_reset(peer);
}

static void speak_http(cny_peer *peer, void *user)
{
    (void)user;
    static const char response[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_send_bytes(peer, response, sizeof response - 1);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void offer_another_version(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_send_bytes(peer, "AMQP\0\1\0\0", 8);
    cny_peer_hang_up(peer);
}

static void expect_failure(cny_script *script, coney_status status)
{
    int64_t began = cny_now_ms();
    fault_start(script, &(coney_connection_factory_options){.connection_timeout_ms = 5000});
    fault_expect_status(status, coney_connection_factory_connect(fault.factory));
    test_expect_elapsed(began, 0, 1000);
}

static void test_peer_that_hangs_up_at_once_is_no_connection(void **state)
{
    (void)state;
    expect_failure(hang_up_at_once, CONEY_E_CONNECT);
    fault_expect_text("is this an AMQP port?");
}

static void hang_up_without_reading(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_hang_up(peer);
}

static void test_peer_that_hangs_up_in_the_handshake_may_not_speak_tls(void **state)
{
    (void)state;
    fault.broker = cny_broker_start(&(cny_broker_options){.script = hang_up_without_reading});
    use_uri("amqps://127.0.0.1:%d", cny_broker_port(fault.broker), 0);
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text("is it a port for TLS?");
}

static void test_peer_that_hangs_up_during_login_is_no_connection(void **state)
{
    (void)state;
    expect_failure(hang_up_after_the_password, CONEY_E_CONNECT);
}

static void test_reset_during_login_is_no_connection(void **state)
{
    (void)state;
    expect_failure(reset_after_the_password, CONEY_E_CONNECT);
}

static void test_peer_that_speaks_http_is_a_protocol_error(void **state)
{
    (void)state;
    expect_failure(speak_http, CONEY_E_PROTOCOL);
    fault_expect_text("the server speaks HTTP; AMQP has another port, by default 5672");
}

static void test_peer_of_another_amqp_version_is_a_protocol_error(void **state)
{
    (void)state;
    expect_failure(offer_another_version, CONEY_E_PROTOCOL);
}

/* --- what follows the login at once --- */

static const unsigned char shutdown_frame[] = {AMQP_FRAME_METHOD, 0,         0, 0,   0,   0,   14, 0, 10, 0, 50,
                                               320 >> 8,          320 & 255, 3, 'b', 'y', 'e', 0,  0, 0,  0, 0xCE};
enum { HALF = sizeof shutdown_frame / 2 };

static void await_close_ok(cny_peer *peer)
{
    while (cny_peer_next(peer)->id != AMQP_CONNECTION_CLOSE_OK_METHOD)
        ;
}

static void shut_down_in_the_same_breath(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *open = cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, open);
    cny_peer_send_bytes(peer, shutdown_frame, sizeof shutdown_frame);
    cny_peer_cork(peer, false);
    await_close_ok(peer);
}

static void shut_down_in_two_breaths(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *open = cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, open);
    cny_peer_send_bytes(peer, shutdown_frame, HALF);
    cny_peer_cork(peer, false);
    cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_send_bytes(peer, shutdown_frame + HALF, sizeof shutdown_frame - HALF);
    await_close_ok(peer);
}

static void expect_shutdown(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_admin(500);
    fault_expect_status(CONEY_E_CONNECT, fault_ask()); /* every connection ends so */
    assert_int_equal(coney_last_error_details()->broker_code, 320);
    fault_expect_text("bye");
    cny_broker_wait(fault.broker, 1);
}

static void test_shutdown_in_the_logins_last_packet_is_a_lost_connection(void **state)
{
    (void)state;
    expect_shutdown(shut_down_in_the_same_breath);
}

static void test_shutdown_half_in_the_logins_last_packet_is_a_lost_connection(void **state)
{
    (void)state;
    expect_shutdown(shut_down_in_two_breaths);
}

static void send_garbage_after_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_send_bytes(peer, "\1\0\0\x40\0\0\0garbage", 14);
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void test_garbage_right_after_the_login_is_a_protocol_error(void **state)
{
    (void)state;
    fault_start(send_garbage_after_login, NULL);
    fault_use_admin(500);
    coney_connection_info info;
    assert_int_not_equal(fault_ask(), CONEY_OK); /* every connection ends so */
    fault_expect_status(CONEY_OK, coney_connection_factory_info(fault.factory, CONEY_CONSUMING, &info));
    assert_int_equal(info.reason, CONEY_E_PROTOCOL);
}

/* --- addresses --- */

static void test_refused_port_names_address_and_reason(void **state)
{
    (void)state;
    char address[32];
    int port = dead_port();
    snprintf(address, sizeof address, "127.0.0.1:%d", port);
    use_uri("amqp://127.0.0.1:%d/%%2F", port, 0);
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text(address);
    fault_expect_text("refused");
}

/* Listens with a backlog that is full, so that the kernel drops what else knocks. */
typedef struct black_hole {
    int listener;
    int knocking[4];
    int port;
} black_hole;

static void open_black_hole(black_hole *hole)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    hole->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(hole->listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(hole->listener, 0), 0);
    assert_int_equal(getsockname(hole->listener, (struct sockaddr *)&address, &size), 0);
    for (int i = 0; i < 4; i++) {
        hole->knocking[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(hole->knocking[i], (struct sockaddr *)&address, size); /* in progress, for ever */
    }
    struct pollfd first = {hole->knocking[0], POLLOUT, 0};
    assert_int_equal(poll(&first, 1, 1000), 1); /* the backlog is in use */
    hole->port = ntohs(address.sin_port);
}

static void close_black_hole(black_hole *hole)
{
    for (int i = 0; i < 4; i++)
        close(hole->knocking[i]);
    close(hole->listener);
}

static void test_connect_that_never_completes_times_out(void **state)
{
    (void)state;
    black_hole hole;
    open_black_hole(&hole);
    use_uri("amqp://127.0.0.1:%d/%%2F", hole.port, 0);
    expect_timeout();
    close_black_hole(&hole);
}

static void test_second_host_is_used_if_the_first_refuses(void **state)
{
    (void)state;
    fault.broker = cny_broker_start(&(cny_broker_options){0});
    use_uri("amqp://127.0.0.1:%d,127.0.0.1:%d/%%2F", dead_port(), cny_broker_port(fault.broker));
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

static void test_second_host_is_used_if_the_first_never_answers(void **state)
{
    (void)state;
    black_hole hole;
    open_black_hole(&hole);
    fault.broker = cny_broker_start(&(cny_broker_options){0});
    use_uri("amqp://127.0.0.1:%d,127.0.0.1:%d/%%2F", hole.port, cny_broker_port(fault.broker));
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    close_black_hole(&hole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_refused_guest_is_told_that_guest_is_local),
        fault_test(test_other_refused_users_are_not),
        fault_test(test_wrong_password_is_access_refused_in_the_brokers_words),
        fault_test(test_missing_virtual_host_is_not_allowed_and_named),
        fault_test(test_connect_works_once_the_broker_has_come_round),
        fault_test(test_refused_password_ends_a_send_at_once),
        fault_test(test_peer_that_never_speaks_times_out),
        fault_test(test_peer_that_never_opens_the_virtual_host_times_out),
        fault_test(test_peer_that_dribbles_times_out_all_the_same),
        fault_test(test_sends_deadline_counts_while_connecting),
        fault_test(test_free_ends_a_login_at_once),
        fault_test(test_free_does_not_wait_for_a_login),
        fault_test(test_peer_that_hangs_up_at_once_is_no_connection),
        fault_test(test_peer_that_hangs_up_in_the_handshake_may_not_speak_tls),
        fault_test(test_peer_that_hangs_up_during_login_is_no_connection),
        fault_test(test_reset_during_login_is_no_connection),
        fault_test(test_peer_that_speaks_http_is_a_protocol_error),
        fault_test(test_peer_of_another_amqp_version_is_a_protocol_error),
        fault_test(test_shutdown_in_the_logins_last_packet_is_a_lost_connection),
        fault_test(test_shutdown_half_in_the_logins_last_packet_is_a_lost_connection),
        fault_test(test_garbage_right_after_the_login_is_a_protocol_error),
        fault_test(test_refused_port_names_address_and_reason),
        fault_test(test_connect_that_never_completes_times_out),
        fault_test(test_second_host_is_used_if_the_first_refuses),
        fault_test(test_second_host_is_used_if_the_first_never_answers),
    };
    return cmocka_run_group_tests_name("login", tests, NULL, NULL);
}
