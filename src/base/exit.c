/* SPDX-License-Identifier: MIT */
/* One line on stderr when the process ends while messages wait for their outcome.
 *
 * A destructor of the library writes the line, because destructors run after the program's exit handlers and after the
 * destructors of its static objects, which may yet wait for the messages or free their template. Other threads still
 * run then, and any of them may hold a lock. So nothing here waits for a lock, or for a reader of stderr. The
 * program's own sink is not called, because the objects that the sink needs may be gone. */
#include "base/base.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define LAST 101 /* of all destructors: those with higher numbers run before, and lower numbers are the system's */

/* Different threads write the two counters, so they are in different cache lines. */
static _Alignas(64) atomic_size_t awaited;
static _Alignas(64) atomic_size_t known;

void cny_outcome_awaited(void)
{
    atomic_fetch_add_explicit(&awaited, 1, memory_order_relaxed);
}

void cny_outcome_known(void)
{
    atomic_fetch_add_explicit(&known, 1, memory_order_relaxed);
}

void cny_outcomes_forget(void)
{
    atomic_store(&known, atomic_load(&awaited));
}

/* If a pipe can be written to, it has room for the line. */
static void write_at_once(const char *line, size_t size)
{
    struct pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&output, 1, 0) != 1 || output.revents != POLLOUT)
        return;
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written; /* a failure cannot be reported any more */
}

__attribute__((destructor(LAST))) static void tell_what_is_unfinished(void)
{
    size_t outcomes = atomic_load(&known), left = atomic_load(&awaited) - outcomes;
    if (left == 0 || !cny_log_wanted(CONEY_LOG_WARN) || !cny_log_goes_to_stderr())
        return;
    char line[256];
    int size =
        snprintf(line, sizeof line,
                 "coney warn: the process ends with %zu message%s that the broker has not confirmed and may have or "
                 "not; coney_template_wait_for_confirms() waits for the outcome\n",
                 left, left == 1 ? "" : "s");
    write_at_once(line, (size_t)size);
}
