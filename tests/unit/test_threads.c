/* SPDX-License-Identifier: MIT */
/* Coney's threads: their stacks, for user code and recursive parsers run on them, so they are not left to a system that
 * gives little (musl: 128 KiB); their signals; and their end, which who joins them waits for. */
#include "base/base.h"
#include "support/elapsed.h"
#include "support/test_support.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static void *measure(void *size)
{
    pthread_attr_t attributes;
    void *lowest;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0)
        pthread_attr_getstack(&attributes, &lowest, size);
    pthread_attr_destroy(&attributes);
    return NULL;
}

/* Of a thread that asks for that much where the system gives that much by default, which musl limits to 8 MiB. */
static size_t stack_of(size_t asked, size_t system)
{
    pthread_attr_t before, attributes;
    pthread_t thread;
    size_t size = 0;
    pthread_getattr_default_np(&before);
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstacksize(&attributes, system), 0);
    assert_int_equal(pthread_setattr_default_np(&attributes), 0);
    assert_ok(cny_thread_start(
        &thread, &(cny_thread){.name = "measure", .stack_bytes = asked, .run = measure, .argument = &size}));
    pthread_join(thread, NULL);
    pthread_setattr_default_np(&before);
    pthread_attr_destroy(&attributes);
    pthread_attr_destroy(&before);
    return size;
}

/* More may be there: the system rounds up, and takes the stacks of threads that have ended for new ones. So each test
 * expects more than those before. */
static void expect_at_least(size_t expected, size_t size)
{
    if (size + 64 * KIB < expected) /* some systems count a guard page */
        fail_msg("%zu bytes of stack instead of %zu", size, expected);
}

static void test_stack_has_a_mebibyte_where_the_system_gives_less(void **state)
{
    (void)state;
    expect_at_least(MIB, stack_of(0, 128 * KIB));
}

static void test_stack_has_what_the_system_gives_if_that_is_more(void **state)
{
    (void)state;
    expect_at_least(4 * MIB, stack_of(0, 4 * MIB));
}

static void test_stack_that_is_asked_for_is_a_minimum(void **state)
{
    (void)state;
    expect_at_least(6 * MIB, stack_of(6 * MIB, 128 * KIB));
    expect_at_least(8 * MIB, stack_of(6 * MIB, 8 * MIB));
}

/* ---- signals ---- */

static void *tell_mask(void *mask)
{
    pthread_sigmask(SIG_SETMASK, NULL, mask);
    return NULL;
}

static void test_thread_begins_with_all_signals_blocked_but_those_about_itself(void **state)
{
    (void)state;
    static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    static const int blocked[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGPIPE, SIGALRM, SIGUSR1, SIGUSR2, SIGIO};
    sigset_t mask;
    pthread_t thread;
    assert_ok(cny_thread_start(&thread, &(cny_thread){.name = "mask", .run = tell_mask, .argument = &mask}));
    pthread_join(thread, NULL);
    for (size_t i = 0; i < COUNT_OF(open); i++)
        assert_int_equal(sigismember(&mask, open[i]), 0);
    for (size_t i = 0; i < COUNT_OF(blocked); i++)
        assert_int_equal(sigismember(&mask, blocked[i]), 1);
    assert_int_equal(sigismember(&mask, SIGRTMIN), 1);
}

/* ---- groups ---- */

enum { PATIENCE_MS = TEST_PATIENCE_MS };

static cny_threads group;
static pthread_key_t local;
static sem_t released;
static atomic_int ended;

static int make_group(void **state)
{
    (void)state;
    cny_threads_init(&group);
    sem_init(&released, 0, 0);
    atomic_store(&ended, 0);
    coney_log_set_level(CONEY_LOG_OFF);
    return 0;
}

/* No thread that was let go may need what the next test makes anew. */
static int free_group(void **state)
{
    (void)state;
    cny_threads_free(&group);
    coney_log_set_level(CONEY_LOG_WARN);
    return 0;
}

static void *end_at_once(void *argument)
{
    atomic_fetch_add(&ended, 1);
    return argument;
}

static void *end_when_released(void *argument)
{
    sem_wait(&released);
    return end_at_once(argument);
}

static void start(const void *owner, void *(*run)(void *), void *argument)
{
    assert_ok(cny_threads_start(&group, owner, &(cny_thread){.name = "grouped", .run = run, .argument = argument}));
}

static size_t size_of_group(void)
{
    pthread_mutex_lock(&group.lock);
    size_t bytes = group.running.size;
    pthread_mutex_unlock(&group.lock);
    return bytes;
}

static void end_late(void *unused)
{
    (void)unused;
    sem_wait(&released);
    atomic_fetch_add(&ended, 1);
}

static void *leave_thread_local_data(void *unused)
{
    (void)unused;
    pthread_setspecific(local, &local);
    sem_post(&released); /* for the destructor: it runs when this function, and all that Coney knows of, is over */
    return NULL;
}

static void test_join_waits_for_the_destructors_of_thread_local_data(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pthread_key_create(&local, end_late), 0);
        start(&group, leave_thread_local_data, NULL);
        cny_threads_join(&group, &group, cny_deadline(PATIENCE_MS));
        assert_int_equal(atomic_load(&ended), i + 1);
        pthread_key_delete(local);
    }
}

static void test_join_gives_up_at_its_deadline(void **state)
{
    (void)state;
    start(&group, end_when_released, NULL);
    int64_t began = cny_now_ms();
    cny_threads_join(&group, NULL, cny_deadline(50));
    test_expect_elapsed(began, 49, 50); /* the wall clock counts other milliseconds */
    assert_int_equal(size_of_group(), 0);
    sem_post(&released);
    test_wait_for(&ended, 1);
}

static void *leave_data_that_hangs(void *unused)
{
    pthread_setspecific(local, &local);
    return unused;
}

static void test_join_gives_up_on_a_destructor_that_hangs(void **state)
{
    (void)state;
    assert_int_equal(pthread_key_create(&local, end_late), 0);
    start(&group, leave_data_that_hangs, NULL);
    cny_threads_join(&group, NULL, cny_deadline(50));
    assert_int_equal(atomic_load(&ended), 0);
    assert_int_equal(size_of_group(), 0);
    sem_post(&released);
    test_wait_for(&ended, 1);
    pthread_key_delete(local);
}

static void test_join_of_an_owner_leaves_the_threads_of_others(void **state)
{
    (void)state;
    static const int one, other;
    start(&other, end_when_released, NULL);
    size_t size_of_one = size_of_group();
    start(&one, end_at_once, NULL);
    cny_threads_join(&group, &one, cny_deadline(PATIENCE_MS));
    assert_int_equal(atomic_load(&ended), 1);
    assert_int_equal(size_of_group(), size_of_one);
    sem_post(&released);
    cny_threads_join(&group, NULL, cny_deadline(PATIENCE_MS));
    assert_int_equal(atomic_load(&ended), 2);
}

static void *join_own_group(void *unused)
{
    (void)unused;
    cny_threads_join(&group, NULL, cny_deadline(PATIENCE_MS));
    return end_at_once(NULL);
}

static void test_thread_that_joins_its_own_group_does_not_wait_for_itself(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    start(&group, join_own_group, NULL);
    test_wait_for(&ended, 1);
    test_expect_elapsed(began, 0, 1000);
    assert_int_equal(size_of_group(), 0);
}

/* Those of lost connections would keep their stacks else. */
static void test_threads_that_have_ended_are_joined_when_another_starts(void **state)
{
    (void)state;
    start(&group, end_at_once, NULL);
    size_t size_of_one = size_of_group();
    for (int i = 0; i < 50; i++)
        start(&group, end_at_once, NULL);
    test_wait_for(&ended, 51);
    test_wait_until((start(&group, end_at_once, NULL), size_of_group() <= size_of_one));
    cny_threads_join(&group, NULL, cny_deadline(PATIENCE_MS));
}

#define group_test(function) cmocka_unit_test_setup_teardown(function, make_group, free_group)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack_has_a_mebibyte_where_the_system_gives_less),
        cmocka_unit_test(test_stack_has_what_the_system_gives_if_that_is_more),
        cmocka_unit_test(test_stack_that_is_asked_for_is_a_minimum),
        cmocka_unit_test(test_thread_begins_with_all_signals_blocked_but_those_about_itself),
        group_test(test_join_waits_for_the_destructors_of_thread_local_data),
        group_test(test_join_gives_up_at_its_deadline),
        group_test(test_join_gives_up_on_a_destructor_that_hangs),
        group_test(test_join_of_an_owner_leaves_the_threads_of_others),
        group_test(test_thread_that_joins_its_own_group_does_not_wait_for_itself),
        group_test(test_threads_that_have_ended_are_joined_when_another_starts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
