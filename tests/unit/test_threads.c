/* SPDX-License-Identifier: MIT */
/* The stacks of Coney's threads: user code and recursive parsers run on them, so they are not left to a system that
 * gives little (musl: 128 KiB). */
#include "base/base.h"
#include "support/test_support.h"

#include <pthread.h>

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

/* Of a thread that asks for that much where the system gives that much by default. */
static size_t stack_of(size_t asked, size_t system)
{
    pthread_attr_t before, attributes;
    pthread_t thread;
    size_t size = 0;
    pthread_getattr_default_np(&before);
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstacksize(&attributes, system), 0);
    assert_int_equal(pthread_setattr_default_np(&attributes), 0);
    assert_ok(cny_thread_start(&thread, "measure", asked, measure, &size));
    pthread_join(thread, NULL);
    pthread_setattr_default_np(&before);
    pthread_attr_destroy(&attributes);
    pthread_attr_destroy(&before);
    return size;
}

/* More may be there: the system rounds up, and takes the stacks of threads that have ended for new ones. */
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
    expect_at_least(24 * MIB, stack_of(0, 24 * MIB));
}

static void test_stack_that_is_asked_for_is_a_minimum(void **state)
{
    (void)state;
    expect_at_least(8 * MIB, stack_of(8 * MIB, 128 * KIB));
    expect_at_least(24 * MIB, stack_of(8 * MIB, 24 * MIB));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stack_has_a_mebibyte_where_the_system_gives_less),
        cmocka_unit_test(test_stack_has_what_the_system_gives_if_that_is_more),
        cmocka_unit_test(test_stack_that_is_asked_for_is_a_minimum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
