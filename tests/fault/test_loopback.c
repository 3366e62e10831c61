/* SPDX-License-Identifier: MIT */
/* A broker on this machine is reached also where the machine has addresses of the other family only, such as a
 * container without IPv6 or one without IPv4. Each test runs in a network of its own, which has a loopback and one more
 * address. */
#include "support/fault_fixture.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LONG_MS = 10000 };

static bool may_make_networks;

/* ---- networks ---- */

/* What the kernel takes for an address of IPv6; linux/ipv6.h goes with no other header. */
typedef struct ip6_request {
    struct in6_addr address;
    uint32_t prefix_bits;
    int interface;
} ip6_request;

static void ask_kernel(int family, uint16_t what, void *request)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    int failed = ioctl(fd, what, request);
    close(fd);
    assert_int_equal(failed, 0);
}

static void enter_new_network(void)
{
    if (!may_make_networks)
        test_leave_out("neither root nor a user namespace may make a network here");
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    struct ifreq loopback = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    ask_kernel(AF_INET, SIOCSIFFLAGS, &loopback);
}

static void enter_network_with_ipv4(void)
{
    struct ifreq request = {.ifr_name = "lo:1"};
    struct sockaddr_in address = {.sin_family = AF_INET};
    enter_new_network();
    inet_pton(AF_INET, "10.0.0.1", &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    ask_kernel(AF_INET, SIOCSIFADDR, &request);
}

static void enter_network_with_ipv6(void)
{
    enter_new_network();
    ip6_request request = {.prefix_bits = 64, .interface = (int)if_nametoindex("lo")};
    inet_pton(AF_INET6, "fd00::1", &request.address);
    ask_kernel(AF_INET6, SIOCSIFADDR, &request);
}

/* ---- tests ---- */

static void use_host(const char *host)
{
    const coney_connection_factory_options options = {
        .connection_timeout_ms = LONG_MS, .close_timeout_ms = 500, .recovery = FAULT_QUICK_RECOVERY};
    char uri[128];
    snprintf(uri, sizeof uri, "amqp://%s:%d", host, cny_broker_port(fault.broker));
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, &options));
}

static void start_broker(void)
{
    coney_log_set_level(CONEY_LOG_OFF);
    fault.broker = cny_broker_start(&(cny_broker_options){0});
}

static void test_ipv4_loopback_is_reached_on_a_host_with_ipv6_only(void **state)
{
    (void)state;
    enter_network_with_ipv6();
    start_broker();
    use_host("127.0.0.1");
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

static void test_name_of_the_ipv4_loopback_is_reached_on_a_host_with_ipv6_only(void **state)
{
    (void)state;
    enter_network_with_ipv6();
    start_broker();
    use_host("localhost");
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

/* The scripted broker has IPv4 only, so the refusal shows that the address was tried. */
static void test_ipv6_loopback_is_tried_on_a_host_with_ipv4_only(void **state)
{
    (void)state;
    enter_network_with_ipv4();
    start_broker();
    use_host("[::1]");
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text("(::1): Connection refused");
}

static void test_address_with_a_zone_is_tried(void **state)
{
    (void)state;
    enter_network_with_ipv6();
    start_broker();
    use_host("[fe80::1%25lo]");
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text("(fe80::1%lo): ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_ipv4_loopback_is_reached_on_a_host_with_ipv6_only),
        fault_test(test_name_of_the_ipv4_loopback_is_reached_on_a_host_with_ipv6_only),
        fault_test(test_ipv6_loopback_is_tried_on_a_host_with_ipv4_only),
        fault_test(test_address_with_a_zone_is_tried),
    };
    /* While there is one thread only. */
    may_make_networks = unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
    return cmocka_run_group_tests_name("loopback", tests, NULL, NULL);
}
