/* SPDX-License-Identifier: MIT */
/* A side's process, from the outside. All functions print why they fail. */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct child {
    pid_t pid; /* 0: none */
    int to, from;
} child;

/* Starts a side and waits until it is ready: "side_coney" or "side_raw", which stand beside this program, or a program
 * by its absolute path. */
bool child_start(child *made, const char *program, const char *case_name);

/* Sends the line and reads the answer, a line without its end. */
bool child_ask(const child *asked, const char *line, char *answer, size_t size);

/* Has it tidy up and end. Takes one that was not started. */
void child_end(child *ended);

#endif
