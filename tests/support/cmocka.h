/* SPDX-License-Identifier: MIT */
/* cmocka with the headers that it needs, under the names of version 2, and tests that cannot run everywhere. */
#ifndef CNY_TEST_CMOCKA_H
#define CNY_TEST_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifndef assert_int_in_range
#define assert_int_in_range(value, minimum, maximum)                                                                   \
    _assert_in_range(cast_to_largest_integral_type(value), cast_to_largest_integral_type(minimum),                     \
                     cast_to_largest_integral_type(maximum), __FILE__, __LINE__)
#undef assert_in_range
#endif

/* Ends a test that cannot run here. ./dev counts these lines at the end of a run. */
#define TEST_LEFT_OUT "left out: "
#define test_leave_out(why)                                                                                            \
    do {                                                                                                               \
        print_message(TEST_LEFT_OUT "%s\n", why);                                                                      \
        skip();                                                                                                        \
    } while (0)

#define BROKER_IS_NOT_OURS "the broker in CONEY_TEST_URI is not ours: no rabbitmqctl, no certificates"
#define NO_BROKER_TO_BREAK "no RabbitMQ to start and to break: none is installed, and no CONEY_BROKER_IMAGE"
#define OLDER_THAN_4_3 "RabbitMQ is older than 4.3"

/* The same for all tests of a program, whose main returns the result: 77, which ctest knows. */
int test_leave_out_all(size_t tests, const char *why);

#endif
