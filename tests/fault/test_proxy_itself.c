/* SPDX-License-Identifier: MIT */
/* The proxy that the fault tests put between client and broker does to bytes what it says. The
 * test plays both peers. */
#include "base/base.h"
#include "support/cmocka.h"
#include "support/elapsed.h"
#include "support/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 5000, SILENCE_MS = 50 };

static cny_proxy *proxy;
static int listener = -1;
static int client = -1;
static int broker = -1;

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static bool ready(int fd, short events, int timeout_ms)
{
    struct pollfd one = {fd, events, 0};
    return poll(&one, 1, timeout_ms) > 0;
}

/* The new client's socket, or -1 with errno. */
static int try_to_connect(void)
{
    struct sockaddr_in address = loopback(cny_proxy_port(proxy));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static void connect_both(void)
{
    client = try_to_connect();
    assert_true(client >= 0);
    assert_true(ready(listener, POLLIN, PATIENCE_MS));
    broker = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(broker >= 0);
}

static void hang_up(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int setup(void **state)
{
    (void)state;
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    proxy = cny_proxy_start(ntohs(address.sin_port));
    connect_both();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_proxy_stop(proxy);
    hang_up(&client);
    hang_up(&broker);
    hang_up(&listener);
    return 0;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void expect_text(int fd, const char *text)
{
    char seen[256] = "";
    size_t size = 0;
    while (size < strlen(text)) {
        assert_true(ready(fd, POLLIN, PATIENCE_MS));
        ssize_t got = recv(fd, seen + size, strlen(text) - size, 0);
        assert_true(got > 0);
        size += (size_t)got;
    }
    assert_string_equal(seen, text);
}

static void expect_end(int fd)
{
    char byte;
    assert_true(ready(fd, POLLIN, PATIENCE_MS));
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void expect_reset(int fd)
{
    char byte;
    assert_true(ready(fd, POLLIN, PATIENCE_MS));
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void expect_silence(int fd)
{
    assert_false(ready(fd, POLLIN, SILENCE_MS));
}

static void expect_no_circuit(void)
{
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (cny_proxy_open(proxy) > 0 && cny_now_ms() < deadline)
        poll(NULL, 0, 1);
    assert_int_equal(cny_proxy_open(proxy), 0);
}

/* --- tests --- */

static void test_bytes_pass_both_ways(void **state)
{
    (void)state;
    say(client, "question");
    expect_text(broker, "question");
    say(broker, "answer");
    expect_text(client, "answer");
}

static void test_hang_up_follows_the_bytes_and_ends_the_circuit(void **state)
{
    (void)state;
    say(client, "bye");
    hang_up(&client);
    expect_text(broker, "bye");
    expect_end(broker);
    hang_up(&broker);
    expect_no_circuit();
}

static void test_reset_by_a_peer_reaches_the_other(void **state)
{
    (void)state;
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    setsockopt(broker, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    hang_up(&broker);
    expect_reset(client);
    expect_no_circuit();
}

static void test_cut_toward_the_client_leaves_the_other_way_open(void **state)
{
    (void)state;
    cny_proxy_cut(proxy, CNY_TO_CLIENT);
    expect_end(client);
    say(client, "still there?");
    expect_text(broker, "still there?");
    expect_silence(broker);
}

static void test_cut_both_ways_ends_both_streams(void **state)
{
    (void)state;
    cny_proxy_cut(proxy, CNY_BOTH_WAYS);
    expect_end(client);
    expect_end(broker);
    connect_both();
    say(client, "new");
    expect_text(broker, "new");
}

static void test_reset_toward_the_client_is_kept_from_the_broker(void **state)
{
    (void)state;
    cny_proxy_reset(proxy, CNY_TO_CLIENT);
    expect_reset(client);
    say(broker, "hello?");
    expect_silence(broker);
    assert_int_equal(cny_proxy_open(proxy), 1);
    hang_up(&broker);
    expect_no_circuit();
}

static void test_reset_both_ways_reaches_both(void **state)
{
    (void)state;
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    expect_reset(client);
    expect_reset(broker);
    assert_int_equal(cny_proxy_open(proxy), 0);
}

static void test_black_hole_swallows_and_keeps_connections(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_BOTH_WAYS);
    say(client, "lost");
    say(broker, "lost");
    expect_silence(client);
    expect_silence(broker);
}

static void test_black_hole_one_way_lets_the_other_pass(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_TO_BROKER);
    say(client, "lost");
    say(broker, "heard");
    expect_text(client, "heard");
    expect_silence(broker);
}

static void test_black_hole_accepts_new_connections_in_silence(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_BOTH_WAYS);
    hang_up(&client);
    hang_up(&broker);
    connect_both();
    say(client, "lost");
    expect_silence(broker);
    assert_int_equal(cny_proxy_accepted(proxy), 2);
}

static void test_hang_up_in_a_black_hole_is_told_when_it_ends(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_BOTH_WAYS);
    say(client, "lost");
    hang_up(&client);
    expect_silence(broker);
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    expect_end(broker);
}

static void test_connection_with_a_hole_stays_silent_and_a_new_one_passes(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_TO_BROKER);
    say(client, "lost");
    expect_silence(broker);
    cny_proxy_pass(proxy, CNY_TO_BROKER);
    say(client, "useless");
    expect_silence(broker);
    hang_up(&client);
    expect_end(broker);
    hang_up(&broker);
    connect_both();
    say(client, "whole");
    expect_text(broker, "whole");
}

static void test_trickle_sends_each_byte_alone(void **state)
{
    (void)state;
    struct tcp_info info;
    socklen_t size = sizeof info;
    cny_proxy_trickle(proxy, CNY_TO_BROKER);
    say(client, "0123456789012345678901234567890123456789");
    expect_text(broker, "0123456789012345678901234567890123456789");
    assert_int_equal(getsockopt(broker, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
    assert_int_in_range(info.tcpi_data_segs_in, 20, 80); /* the kernel may join some on the way */
}

static void test_delay_is_kept_and_order_too(void **state)
{
    (void)state;
    cny_proxy_delay(proxy, CNY_TO_BROKER, 200);
    int64_t start = cny_now_ms();
    say(client, "one ");
    poll(NULL, 0, 20); /* so that there are two pieces */
    say(client, "two ");
    expect_text(broker, "one two ");
    test_expect_elapsed(start, 220, 900);
    say(client, "three ");
    cny_proxy_pass(proxy, CNY_TO_BROKER);
    say(client, "four");
    expect_text(broker, "three four");
}

static void test_rate_is_kept(void **state)
{
    (void)state;
    char kilobyte[1025] = "";
    memset(kilobyte, 'x', 1024);
    cny_proxy_rate(proxy, CNY_TO_CLIENT, 20000);
    int64_t start = cny_now_ms();
    for (int i = 0; i < 8; i++)
        say(broker, kilobyte);
    for (int i = 0; i < 8 * 8; i++) {
        kilobyte[128] = '\0';
        expect_text(client, kilobyte);
    }
    test_expect_elapsed(start, 350, 900);
}

static void test_cut_after_lets_exactly_so_many_bytes_pass(void **state)
{
    (void)state;
    cny_proxy_cut_after(proxy, CNY_TO_BROKER, 5);
    say(client, "123");
    expect_text(broker, "123");
    say(client, "456789");
    expect_text(broker, "45");
    expect_end(broker);
    say(broker, "other way");
    expect_text(client, "other way");
}

static void test_cut_after_happens_once(void **state)
{
    (void)state;
    cny_proxy_cut_after(proxy, CNY_TO_BROKER, 1);
    say(client, "12");
    expect_text(broker, "1");
    expect_end(broker);
    hang_up(&broker);
    expect_end(client);
    hang_up(&client);
    connect_both();
    say(client, "12");
    expect_text(broker, "12");
}

static void test_refused_connections_are_accepted_again(void **state)
{
    (void)state;
    cny_proxy_refuse(proxy);
    assert_int_equal(try_to_connect(), -1);
    assert_int_equal(errno, ECONNREFUSED);
    say(client, "the old one works");
    expect_text(broker, "the old one works");
    hang_up(&client);
    hang_up(&broker);
    cny_proxy_listen(proxy);
    connect_both();
    assert_int_equal(cny_proxy_accepted(proxy), 2);
}

static void test_target_that_refuses_hangs_up_the_client(void **state)
{
    (void)state;
    hang_up(&broker);
    expect_end(client);
    hang_up(&client);
    hang_up(&listener);
    client = try_to_connect();
    if (client >= 0) /* else the reset was faster */
        expect_reset(client);
}

int main(void)
{
#define with_proxy(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_proxy(test_bytes_pass_both_ways),
        with_proxy(test_hang_up_follows_the_bytes_and_ends_the_circuit),
        with_proxy(test_reset_by_a_peer_reaches_the_other),
        with_proxy(test_cut_toward_the_client_leaves_the_other_way_open),
        with_proxy(test_cut_both_ways_ends_both_streams),
        with_proxy(test_reset_toward_the_client_is_kept_from_the_broker),
        with_proxy(test_reset_both_ways_reaches_both),
        with_proxy(test_black_hole_swallows_and_keeps_connections),
        with_proxy(test_black_hole_one_way_lets_the_other_pass),
        with_proxy(test_black_hole_accepts_new_connections_in_silence),
        with_proxy(test_hang_up_in_a_black_hole_is_told_when_it_ends),
        with_proxy(test_connection_with_a_hole_stays_silent_and_a_new_one_passes),
        with_proxy(test_trickle_sends_each_byte_alone),
        with_proxy(test_delay_is_kept_and_order_too),
        with_proxy(test_rate_is_kept),
        with_proxy(test_cut_after_lets_exactly_so_many_bytes_pass),
        with_proxy(test_cut_after_happens_once),
        with_proxy(test_refused_connections_are_accepted_again),
        with_proxy(test_target_that_refuses_hangs_up_the_client),
    };
    return cmocka_run_group_tests_name("proxy itself", tests, NULL, NULL);
}
