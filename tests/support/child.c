/* SPDX-License-Identifier: MIT */
/* See child.h. */
#include "support/child.h"

#include "base/base.h"
#include "support/test_support.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_PATIENCE_MS = 2 * TEST_PATIENCE_MS };

void test_expect_good_child(int (*run)(void))
{
    int status = -1;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(run());
    assert_true(child > 0);
    int64_t deadline = cny_now_ms() + CHILD_PATIENCE_MS;
    pid_t ended = 0;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    if (ended == 0) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        fail_msg("the child hangs");
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        fail_msg("the child ended with 0x%x", status);
}

void test_end_child(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: in the child: %s (last error: %s)\n", file, line, condition, coney_last_error());
    _exit(1);
}

void test_let_child_wait(int *waited_ms, const char *condition, const char *file, int line)
{
    enum { STEP_MS = 5 };
    if (*waited_ms >= TEST_PATIENCE_MS)
        test_end_child(condition, file, line);
    poll(NULL, 0, STEP_MS);
    *waited_ms += STEP_MS;
}
