/* SPDX-License-Identifier: MIT */
/* When something is freed its threads have ended, up to the last thing a thread does: the program's destructors of
 * thread-local data, which here take their time. */
#include "support/elapsed.h"
#include "support/test_support.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>

enum { DESTRUCTOR_MS = 50, SHUTDOWN_MS = 200 };

static pthread_key_t local;

static struct {
    coney_connection_factory *factory;
    coney_template *sender;
    coney_batching_template *batching;
    coney_container *container;
    char queue[256];
    atomic_int left;  /* threads with data */
    atomic_int ended; /* of them */
    atomic_bool hangs, by_timer;
    sem_t released;
} here;

static void destroy(void *unused)
{
    (void)unused;
    if (atomic_load(&here.hangs))
        sem_wait(&here.released);
    else
        poll(NULL, 0, DESTRUCTOR_MS);
    atomic_fetch_add(&here.ended, 1);
}

static void leave_data(void)
{
    if (pthread_getspecific(local))
        return;
    pthread_setspecific(local, &local);
    atomic_fetch_add(&here.left, 1);
}

static void expect_ended(void)
{
    assert_int_equal(atomic_load(&here.left), 1);
    assert_int_equal(atomic_load(&here.ended), 1);
}

/* ---- the program's code ---- */

static coney_status provide(coney_credentials *credentials, void *user)
{
    (void)credentials;
    (void)user;
    leave_data();
    return CONEY_OK;
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    leave_data();
    return CONEY_ACK;
}

static coney_outcome ignore(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

static void complete(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)user;
    check(!error);
    leave_data();
}

static coney_status process(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    if (atomic_load(&here.by_timer))
        leave_data();
    return CONEY_OK;
}

/* ---- the client ---- */

static void make_factory(coney_credentials_provider *provider)
{
    const coney_connection_factory_options options = {.credentials = provider};
    snprintf(here.queue, sizeof here.queue, "%s", test_name("ends"));
    assert_ok(coney_connection_factory_new(&here.factory, test_uri(), &options));
    assert_ok(coney_template_new(&here.sender, here.factory, NULL));
}

static void start_container(coney_message_handler *handler)
{
    const coney_queue queue = {.name = here.queue, .exclusive = true};
    const coney_listener listener = {.declare = &queue, .on_message = handler};
    const coney_container_options options = {.shutdown_timeout_ms = atomic_load(&here.hangs) ? SHUTDOWN_MS : 0};
    assert_ok(coney_container_new(&here.container, here.factory, &options));
    assert_ok(coney_container_listen(here.container, &listener));
    assert_ok(coney_container_start(here.container));
}

static void send_one(coney_send_callback *callback)
{
    coney_message *message = test_text("hello");
    assert_ok(coney_template_send_async(here.sender, here.queue, message, NULL, callback, NULL));
    coney_message_unref(message);
}

static void free_all(void)
{
    coney_batching_template_free(here.batching);
    coney_template_free(here.sender);
    coney_container_free(here.container);
    coney_connection_factory_free(here.factory);
    here.batching = NULL;
    here.sender = NULL;
    here.container = NULL;
    here.factory = NULL;
}

static int setup(void **state)
{
    (void)state;
    memset(&here, 0, sizeof here);
    sem_init(&here.released, 0, 0);
    return pthread_key_create(&local, destroy);
}

static int teardown(void **state)
{
    free_all();
    test_log_stop();
    sem_post(&here.released);
    pthread_key_delete(local);
    return test_no_failed_checks(state);
}

/* ---- tests ---- */

static void test_freed_container_has_ended_its_workers(void **state)
{
    (void)state;
    make_factory(NULL);
    start_container(handle);
    send_one(NULL);
    test_wait_for(&here.left, 1);
    coney_container_free(here.container);
    here.container = NULL;
    expect_ended();
}

static void test_freed_batching_template_has_ended_its_timer(void **state)
{
    (void)state;
    const coney_processor processor = {.name = "look", .process = process};
    const coney_batching_options options = {.timeout_ms = 1};
    coney_message *message = test_text("hello");
    make_factory(NULL);
    start_container(ignore);
    assert_ok(coney_template_add_before_publish(here.sender, &processor));
    assert_ok(coney_batching_template_new(&here.batching, here.sender, &options));
    atomic_store(&here.by_timer, true);
    assert_ok(coney_batching_template_send(here.batching, here.queue, message, NULL, NULL, NULL));
    coney_message_unref(message);
    test_wait_for(&here.left, 1);
    atomic_store(&here.by_timer, false);
    coney_batching_template_free(here.batching);
    here.batching = NULL;
    expect_ended();
}

static void test_freed_factory_has_ended_its_events_thread(void **state)
{
    (void)state;
    make_factory(NULL);
    start_container(ignore);
    send_one(complete);
    test_wait_for(&here.left, 1);
    free_all();
    expect_ended();
}

static void test_freed_factory_has_ended_its_recovery_thread(void **state)
{
    (void)state;
    make_factory(provide);
    assert_ok(coney_connection_factory_connect(here.factory));
    free_all();
    expect_ended();
}

static void test_free_gives_up_on_a_thread_whose_destructor_hangs(void **state)
{
    (void)state;
    atomic_store(&here.hangs, true);
    make_factory(NULL);
    start_container(handle);
    send_one(NULL);
    test_wait_for(&here.left, 1);
    test_log_start(CONEY_LOG_WARN);
    int64_t began = cny_now_ms();
    coney_container_free(here.container);
    here.container = NULL;
    test_expect_elapsed(began, SHUTDOWN_MS, 2 * SHUTDOWN_MS);
    test_log_expect("warn: threads that are still running: 1, 'container' among them; Coney stays loaded");
    sem_post(&here.released);
    test_wait_for(&here.ended, 1);
}

#define ends_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ends_test(test_freed_container_has_ended_its_workers),
        ends_test(test_freed_batching_template_has_ended_its_timer),
        ends_test(test_freed_factory_has_ended_its_events_thread),
        ends_test(test_freed_factory_has_ended_its_recovery_thread),
        ends_test(test_free_gives_up_on_a_thread_whose_destructor_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
