/* SPDX-License-Identifier: MIT */
/* Host names: resolved anew for each attempt, and each address that comes of one has its own time to answer.
 *
 * The resolver is this program's: the linker puts it in the place of the system's (tests/CMakeLists.txt). */
#include "support/fault_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { ADDRESSES = 3, LONG_MS = 10000, BUDGET_MS = 1000 };

/* ---- the resolver ---- */

static struct {
    pthread_mutex_t lock;
    int failure;          /* EAI_..., instead of addresses */
    int error_number;     /* beside EAI_SYSTEM */
    int ports[ADDRESSES]; /* of 127.0.0.1, in this order; 0: no more */
    int asked;
    int flags; /* of the last question */
} resolver = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* One block each: the address stands after the node, which its canonical name tells from the system's. */
static char mine[] = "mine";

typedef struct answer {
    struct addrinfo info;
    struct sockaddr_in address;
} answer;

static struct addrinfo *make_answer(int port, struct addrinfo *next)
{
    answer *made = calloc(1, sizeof *made);
    if (!made)
        abort();
    made->address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    made->info = (struct addrinfo){.ai_canonname = mine,
                                   .ai_family = AF_INET,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_addrlen = sizeof made->address,
                                   .ai_addr = (struct sockaddr *)&made->address,
                                   .ai_next = next};
    return &made->info;
}

int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);
void __wrap_freeaddrinfo(struct addrinfo *found);
int __real_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found);
void __real_freeaddrinfo(struct addrinfo *found);

/* Numbers are no question. */
int __wrap_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    if (hints->ai_flags & AI_NUMERICHOST)
        return __real_getaddrinfo(name, service, hints, found);
    pthread_mutex_lock(&resolver.lock);
    int failure = strcmp(name, "broker.test") == 0 ? resolver.failure : EAI_NONAME;
    *found = NULL;
    for (int i = ADDRESSES; failure == 0 && i-- > 0;) {
        if (resolver.ports[i] != 0)
            *found = make_answer(resolver.ports[i], *found);
    }
    resolver.asked++;
    resolver.flags = hints->ai_flags;
    errno = resolver.error_number;
    pthread_mutex_unlock(&resolver.lock);
    return failure;
}

void __wrap_freeaddrinfo(struct addrinfo *found)
{
    if (found->ai_canonname != mine) {
        __real_freeaddrinfo(found);
        return;
    }
    while (found) {
        struct addrinfo *next = found->ai_next;
        free(found);
        found = next;
    }
}

static int times_asked(void)
{
    pthread_mutex_lock(&resolver.lock);
    int asked = resolver.asked;
    pthread_mutex_unlock(&resolver.lock);
    return asked;
}

static void resolve_to(const int ports[ADDRESSES], int failure)
{
    pthread_mutex_lock(&resolver.lock);
    memcpy(resolver.ports, ports, sizeof resolver.ports);
    resolver.failure = failure;
    pthread_mutex_unlock(&resolver.lock);
}

/* ---- the brokers it leads to ---- */

static cny_broker *brokers[ADDRESSES];

static int setup(void **state)
{
    (void)state;
    coney_log_set_level(CONEY_LOG_OFF);
    pthread_mutex_lock(&resolver.lock);
    resolver.asked = resolver.error_number = 0;
    pthread_mutex_unlock(&resolver.lock);
    return 0;
}

static int teardown(void **state)
{
    int failed = fault_teardown(state);
    for (int i = 0; i < ADDRESSES; i++) {
        cny_broker *broker = brokers[i];
        brokers[i] = NULL;
        cny_broker_stop(broker);
    }
    return failed;
}

static int start_broker(int i, cny_script *script)
{
    brokers[i] = cny_broker_start(&(cny_broker_options){.script = script});
    return cny_broker_port(brokers[i]);
}

static void use_name(void)
{
    const coney_connection_factory_options options = {
        .connection_timeout_ms = BUDGET_MS, .close_timeout_ms = 500, .recovery = FAULT_QUICK_RECOVERY};
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, "amqp://broker.test", &options));
    fault_use_admin(LONG_MS);
}

static void expect_connections(int broker, int count)
{
    assert_int_equal(cny_broker_count_heard(brokers[broker], CNY_PROTOCOL_HEADER), count);
}

/* ---- each address has its own time ---- */

static void say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_silence(peer, LONG_MS);
}

/* If it began with the first address, the time would be over when the last one's turn comes. */
static void test_addresses_that_never_answer_leave_the_next_its_own_time(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, say_nothing), start_broker(1, say_nothing), start_broker(2, NULL)}, 0);
    use_name();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_ask());
    test_expect_elapsed(began, 2 * BUDGET_MS - 50, LONG_MS);
    for (int i = 0; i < ADDRESSES; i++)
        expect_connections(i, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_OK); /* it was one attempt */
    assert_int_equal(times_asked(), 1);
}

static void test_attempt_takes_no_longer_than_all_addresses_may(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, say_nothing), start_broker(1, say_nothing)}, 0);
    use_name();
    int64_t began = cny_now_ms();
    fault_in_background(fault_ask);
    fault_wait_for_info(CONEY_CONSUMING, "did not finish the login within 1000 ms");
    test_expect_elapsed(began, 2 * BUDGET_MS - 50, 3 * BUDGET_MS);
    expect_connections(0, 1);
    expect_connections(1, 1);
}

static void test_address_that_refuses_is_followed_by_the_next(void **state)
{
    (void)state;
    int dead = start_broker(0, NULL);
    cny_broker_stop(brokers[0]);
    brokers[0] = NULL;
    resolve_to((int[ADDRESSES]){dead, start_broker(1, NULL)}, 0);
    use_name();
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_OK); /* it was one attempt */
}

/* ---- each attempt asks anew ---- */

static void hang_up_when_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void test_name_that_moves_is_followed_after_a_loss(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, hang_up_when_told)}, 0);
    use_name();
    fault_expect_status(CONEY_OK, fault_ask());
    resolve_to((int[ADDRESSES]){start_broker(1, NULL)}, 0);
    cny_broker_go(brokers[0]);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_connections(0, 1);
    expect_connections(1, 1);
    assert_int_equal(times_asked(), 2);
}

static void hang_up_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void test_name_that_moves_is_followed_between_attempts(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, hang_up_at_once)}, 0);
    use_name();
    fault_in_background(fault_ask);
    fault_wait_until(times_asked() >= 3); /* the first two have failed */
    resolve_to((int[ADDRESSES]){start_broker(1, NULL)}, 0);
    fault_expect_status(CONEY_OK, fault_background_end());
    expect_connections(1, 1);
    assert_int_equal(times_asked(), cny_broker_count_heard(brokers[0], CNY_PROTOCOL_HEADER) + 1);
}

static void test_name_that_does_not_resolve_is_told_and_asked_for_again(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){0}, EAI_AGAIN);
    use_name();
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text("cannot resolve host 'broker.test': ");
    resolve_to((int[ADDRESSES]){start_broker(0, NULL)}, 0);
    fault_expect_status(CONEY_OK, fault_ask());
}

static void fail_to_resolve(int failure, int error_number, coney_status status, const char *text)
{
    resolve_to((int[ADDRESSES]){0}, failure);
    pthread_mutex_lock(&resolver.lock);
    resolver.error_number = error_number;
    pthread_mutex_unlock(&resolver.lock);
    use_name();
    fault_expect_status(status, coney_connection_factory_connect(fault.factory));
    fault_expect_text(text);
    resolve_to((int[ADDRESSES]){start_broker(0, NULL)}, 0); /* it is asked again */
    fault_expect_status(CONEY_OK, fault_ask());
}

static void test_error_of_the_system_is_told_and_the_name_asked_for_again(void **state)
{
    (void)state;
    fail_to_resolve(EAI_SYSTEM, EIO, CONEY_E_SYSTEM, "cannot resolve host 'broker.test': Input/output error");
}

/* glibc says so when it cannot open /etc/hosts or a socket. */
static void test_name_that_is_unknown_for_lack_of_descriptors_is_an_error_of_the_system(void **state)
{
    (void)state;
    fail_to_resolve(EAI_NONAME, EMFILE, CONEY_E_SYSTEM, "cannot resolve host 'broker.test': Too many open files");
}

static void test_lack_of_memory_for_resolving_is_no_memory(void **state)
{
    (void)state;
    fail_to_resolve(EAI_MEMORY, 0, CONEY_E_NO_MEMORY, "");
}

/* ---- what is asked ---- */

static void test_address_in_numbers_asks_no_resolver(void **state)
{
    (void)state;
    fault_start(NULL, NULL); /* at 127.0.0.1 */
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    assert_int_equal(times_asked(), 0);
}

/* AI_ADDRCONFIG leaves out the loopback of a family that the machine has no other address of. */
static void test_name_is_asked_for_whatever_addresses_the_machine_has(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, NULL)}, 0);
    use_name();
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(resolver.flags & AI_ADDRCONFIG, 0);
}

static void test_address_of_an_unknown_zone_asks_no_resolver(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, "amqp://[fe80::1%25nowhere]", NULL));
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_expect_text("cannot resolve host 'fe80::1%nowhere'");
    assert_int_equal(times_asked(), 0);
}

#define resolving_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static void test_connect_waits_for_all_addresses(void **state)
{
    (void)state;
    resolve_to((int[ADDRESSES]){start_broker(0, say_nothing), start_broker(1, say_nothing), start_broker(2, NULL)}, 0);
    use_name();
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        resolving_test(test_addresses_that_never_answer_leave_the_next_its_own_time),
        resolving_test(test_attempt_takes_no_longer_than_all_addresses_may),
        resolving_test(test_connect_waits_for_all_addresses),
        resolving_test(test_address_that_refuses_is_followed_by_the_next),
        resolving_test(test_name_that_moves_is_followed_after_a_loss),
        resolving_test(test_name_that_moves_is_followed_between_attempts),
        resolving_test(test_name_that_does_not_resolve_is_told_and_asked_for_again),
        resolving_test(test_error_of_the_system_is_told_and_the_name_asked_for_again),
        resolving_test(test_name_that_is_unknown_for_lack_of_descriptors_is_an_error_of_the_system),
        resolving_test(test_lack_of_memory_for_resolving_is_no_memory),
        resolving_test(test_address_in_numbers_asks_no_resolver),
        resolving_test(test_name_is_asked_for_whatever_addresses_the_machine_has),
        resolving_test(test_address_of_an_unknown_zone_asks_no_resolver),
    };
    return cmocka_run_group_tests_name("resolving", tests, NULL, NULL);
}
