/* SPDX-License-Identifier: MIT */
/* cmocka with the headers that it needs, under the names of version 2. */
#ifndef CNY_TEST_CMOCKA_H
#define CNY_TEST_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#ifndef assert_int_in_range
#define assert_int_in_range assert_in_range
#endif

#endif
