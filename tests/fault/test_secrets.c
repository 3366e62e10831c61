/* SPDX-License-Identifier: MIT */
/* Passwords, tokens and keys are wiped: no memory that Coney gives back to the heap still holds one.
 *
 * The linker puts the two functions below in front of free() and realloc() (tests/CMakeLists.txt), so each block
 * can be looked at before it goes. That leaves out what stacks and registers keep for a while, OpenSSL's memory,
 * and the program's own copies. */
#include "base/base.h"
#include "support/fault_fixture.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/* What is looked for is its end: the beginning may have been written over by what came later in the same buffer. */
#define END_OF_SECRET "open-barley-4711"
#define FILLING "0123456789abcdefghijklmnopqrstuvwxyz"
#define SECRET FILLING FILLING FILLING FILLING FILLING END_OF_SECRET

enum { LONG_MS = 10000, MOST_ALLOCATIONS = 1000 };

/* ---- the watch ---- */

void __real_free(void *memory);
void __wrap_free(void *memory);
void *__wrap_realloc(void *memory, size_t size);

static atomic_int left_behind;
static _Thread_local bool is_the_broker; /* what it has heard is no concern of Coney's */

/* Wiped here in any case, lest it be found again in the memory's next life. */
void __wrap_free(void *memory)
{
    size_t size = memory ? malloc_usable_size(memory) : 0;
    if (size > 0 && memmem(memory, size, END_OF_SECRET, strlen(END_OF_SECRET))) {
        atomic_fetch_add(&left_behind, !is_the_broker);
        explicit_bzero(memory, size);
    }
    __real_free(memory);
}

/* Always another block, so that the old one is looked at; zeroed, for what the memory held before is not ours. */
void *__wrap_realloc(void *memory, size_t size)
{
    size_t old_size = memory ? malloc_usable_size(memory) : 0;
    void *made = calloc(1, size);
    if (!made)
        return NULL;
    if (memory)
        memcpy(made, memory, old_size < size ? old_size : size);
    __wrap_free(memory);
    return made;
}

static void test_the_watch_sees_a_secret_that_is_left_behind(void **state)
{
    (void)state;
    char *secret = cny_strdup(SECRET);
    cny_free(secret);
    assert_int_equal(atomic_load(&left_behind), 1);
    secret = cny_realloc(cny_strdup(SECRET), 10000);
    assert_int_equal(atomic_load(&left_behind), 2);
    explicit_bzero(secret, strlen(secret));
    cny_free(secret);
    assert_int_equal(atomic_load(&left_behind), 2);
}

static int setup(void **state)
{
    (void)state;
    coney_log_set_level(CONEY_LOG_OFF);
    atomic_store(&left_behind, 0);
    return 0;
}

/* ---- passwords ---- */

static void start_with(const cny_broker_options *broker, const coney_connection_factory_options *options)
{
    char uri[512];
    fault.broker = cny_broker_start(broker);
    snprintf(uri, sizeof uri, "amqp://alice:%s@127.0.0.1:%d", options->credentials ? "" : SECRET,
             cny_broker_port(fault.broker));
    coney_connection_factory_options client = *options;
    client.close_timeout_ms = 500;
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, &client));
}

static void start(cny_script *script)
{
    start_with(&(cny_broker_options){.script = script}, &(coney_connection_factory_options){0});
}

/* All is freed, and all threads are over. */
static void free_factory(void)
{
    coney_template_free(fault.sender);
    coney_admin_free(fault.admin);
    coney_connection_factory_free(fault.factory);
    fault.sender = NULL;
    fault.admin = NULL;
    fault.factory = NULL;
}

static void expect_nothing_left(void)
{
    free_factory();
    assert_int_equal(atomic_load(&left_behind), 0);
}

static void check_the_password(cny_peer *peer)
{
    static const char response[] = "\0alice\0" SECRET;
    is_the_broker = true;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    amqp_bytes_t said = ((amqp_connection_start_ok_t *)method->args)->response;
    cny_peer_check(peer, said.len == sizeof response - 1 && memcmp(said.bytes, response, said.len) == 0);
    cny_peer_answer(peer, method);
}

static void serve(cny_peer *peer, void *user)
{
    (void)user;
    check_the_password(peer);
}

static void test_password_of_the_uri_is_wiped(void **state)
{
    (void)state;
    start(serve);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_ask());
    expect_nothing_left();
}

static void refuse(cny_peer *peer, void *user)
{
    (void)user;
    is_the_broker = true;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
}

static void test_password_that_is_refused_is_wiped(void **state)
{
    (void)state;
    start(refuse);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_connection_factory_connect(fault.factory));
    expect_nothing_left();
}

/* From the method on that the user is. */
static void say_nothing(cny_peer *peer, void *user)
{
    is_the_broker = true;
    cny_peer_serve_until(peer, *(amqp_method_number_t *)user);
    cny_peer_silence(peer, LONG_MS);
}

static void expect_nothing_left_of_a_login_that_is_ended_at(amqp_method_number_t id)
{
    start_with(&(cny_broker_options){.script = say_nothing, .user = &id}, &(coney_connection_factory_options){0});
    fault_use_admin(1);
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    fault_wait_until(cny_broker_count_heard(fault.broker, id) == 1);
    expect_nothing_left();
}

static void test_password_of_a_login_that_is_ended_is_wiped(void **state)
{
    (void)state;
    expect_nothing_left_of_a_login_that_is_ended_at(CNY_PROTOCOL_HEADER);
}

static void test_password_that_was_sent_when_the_login_is_ended_is_wiped(void **state)
{
    (void)state;
    expect_nothing_left_of_a_login_that_is_ended_at(AMQP_CONNECTION_START_OK_METHOD);
}

static void test_password_in_a_uri_that_is_refused_is_wiped(void **state)
{
    (void)state;
    static const char *const wrong[] = {"amqp://alice:" SECRET "%zz@h", "amqp://alice:" SECRET "%00@h",
                                        "amqp://alice:" SECRET "@h:99999", "amqp://alice:" SECRET "@h?heartbeat=x",
                                        "amqp://alice:" SECRET "@h/a/b"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        fault_expect_status(CONEY_E_INVALID, coney_connection_factory_new(&fault.factory, wrong[i], NULL));
    expect_nothing_left();
}

/* ---- tokens ---- */

static atomic_int asked;

static coney_status provide(coney_credentials *credentials, void *user)
{
    atomic_fetch_add(&asked, 1);
    *credentials = (coney_credentials){.user = "alice", .password = user, .valid_for_s = 1};
    return CONEY_OK;
}

static void start_with_provider(cny_broker_options broker)
{
    atomic_store(&asked, 0);
    start_with(&broker, &(coney_connection_factory_options){.credentials = provide, .credentials_user = SECRET});
}

static void expect_the_secret_again(cny_peer *peer, void *user)
{
    (void)user;
    check_the_password(peer);
    cny_peer_method *update = cny_peer_serve_until(peer, CNY_UPDATE_SECRET);
    cny_peer_check(peer, strcmp(update->body, SECRET) == 0);
    cny_peer_answer(peer, update);
}

static void test_secret_of_the_provider_is_wiped_after_login_and_renewal(void **state)
{
    (void)state;
    start_with_provider((cny_broker_options){.script = expect_the_secret_again});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    expect_nothing_left();
}

static void read_nothing_behind_the_first_message(cny_peer *peer, void *user)
{
    (void)user;
    check_the_password(peer);
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_stall(peer, LONG_MS);
}

/* The third time that the provider is asked, the second secret waits behind a message that nobody reads. */
static void test_secret_that_could_not_be_written_is_wiped(void **state)
{
    (void)state;
    static const char body[12 << 20]; /* more than the kernel takes */
    coney_message *message;
    start_with_provider((cny_broker_options){.script = read_nothing_behind_the_first_message, .receive_buffer = 65536});
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    fault_expect_status(CONEY_OK, fault_send_message_async(0, NULL, message));
    fault_wait_until(atomic_load(&asked) >= 3);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_UPDATE_SECRET), 0);
    expect_nothing_left();
}

/* ---- keys ---- */

static const coney_tls_options tls = {
    .ca_pem = "ca", .certificate_pem = "certificate", .key_pem = "key " SECRET, .key_passphrase = SECRET};
static const coney_connection_factory_options with_key = {.tls = &tls};

static void test_key_and_passphrase_are_wiped(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, "amqps://h", &with_key));
    expect_nothing_left();
}

static void test_secrets_are_wiped_when_memory_runs_out(void **state)
{
    (void)state;
    coney_status status = CONEY_E_NO_MEMORY;
    for (int successes = 0; status == CONEY_E_NO_MEMORY && successes < MOST_ALLOCATIONS; successes++) {
        cny_alloc_fail_after(successes);
        status = coney_connection_factory_new(&fault.factory, "amqps://alice:" SECRET "@h", &with_key);
        cny_alloc_fail_after(-1);
    }
    fault_expect_status(CONEY_OK, status);
    expect_nothing_left();
}

#define secrets_test(function) cmocka_unit_test_setup_teardown(function, setup, fault_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        secrets_test(test_the_watch_sees_a_secret_that_is_left_behind),
        secrets_test(test_password_of_the_uri_is_wiped),
        secrets_test(test_password_that_is_refused_is_wiped),
        secrets_test(test_password_of_a_login_that_is_ended_is_wiped),
        secrets_test(test_password_that_was_sent_when_the_login_is_ended_is_wiped),
        secrets_test(test_password_in_a_uri_that_is_refused_is_wiped),
        secrets_test(test_secret_of_the_provider_is_wiped_after_login_and_renewal),
        secrets_test(test_secret_that_could_not_be_written_is_wiped),
        secrets_test(test_key_and_passphrase_are_wiped),
        secrets_test(test_secrets_are_wiped_when_memory_runs_out),
    };
    return cmocka_run_group_tests_name("secrets", tests, NULL, NULL);
}
