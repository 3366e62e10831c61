/* SPDX-License-Identifier: MIT */
/* How long a call took, on a machine that may be late itself: one that is busy with other things
 * wakes every thread too late, which is no fault of the call. */
#ifndef CNY_TEST_ELAPSED_H
#define CNY_TEST_ELAPSED_H

#include "base/base.h"

/* How late something that began then (cny_now_ms) may be: 100 ms, or 400 under a sanitizer or if more
 * threads want to run than there are processors, and test_late_ms(). */
int test_slack_ms(int64_t since_ms);

/* How much later than it wanted a thread woke that does nothing but sleep, and how long a thread that always wants to
 * run has waited for its turn. With ten threads for each processor that is nine tenths of the time, so ten times the
 * time is allowed. */
int test_late_ms(int64_t since_ms);

/* Fails the test if it took less time than that, or more and the slack. */
void test_expect_elapsed(int64_t since_ms, int at_least_ms, int at_most_ms);

#endif
