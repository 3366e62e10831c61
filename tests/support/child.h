/* SPDX-License-Identifier: MIT */
/* Has a child of fork() do something, for what would harm a test program or comes with fork() itself. */
#ifndef CNY_TEST_CHILD_H
#define CNY_TEST_CHILD_H

/* The child's exit status is what it returns; the test fails unless that is 0 and comes in time. */
void test_expect_good_child(int (*run)(void));

/* For the child, where cmocka's assertions mean nothing: prints what does not hold and ends the child. */
#define child_check(condition) ((condition) ? (void)0 : test_end_child(#condition, __FILE__, __LINE__))
void test_end_child(const char *condition, const char *file, int line) __attribute__((noreturn));

/* The same, waiting until the condition holds. */
#define child_wait_until(condition)                                                                                    \
    for (int waited_ms_ = 0; !(condition);)                                                                            \
    test_let_child_wait(&waited_ms_, #condition, __FILE__, __LINE__)
void test_let_child_wait(int *waited_ms, const char *condition, const char *file, int line);

#endif
