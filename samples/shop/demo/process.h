/* SPDX-License-Identifier: MIT */
/* A child process: one of the shop's programs, its output in a log file. It never outlives the
 * demo, however that ends. */
#ifndef SHOP_DEMO_PROCESS_H
#define SHOP_DEMO_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

struct process {
    pid_t pid;  /* 0: not running */
    int status; /* of the last run, as waitpid() tells it */
    char program[64];
    char log[512];
};

/* Starts the program of that name beside the demo's own; arguments are those behind its name and
 * end with NULL. The log is appended to. False with a line on stderr. */
bool process_start(struct process *process, const char *const arguments[]);

bool process_running(struct process *process);

/* Whether the last run ended by itself, with exit status 0. */
bool process_succeeded(const struct process *process);

/* SIGTERM and wait; SIGKILL if that takes longer than the timeout. True if it exited with 0. */
bool process_stop(struct process *process, int timeout_ms);

/* SIGKILL. Nothing to do if it does not run. */
void process_kill(struct process *process);

/* The last lines of the log, to stderr. */
void process_show_log(const struct process *process);

/* The last line of the log, without line end; "" if there is none. */
void process_last_line(const struct process *process, char *line, size_t size);

#endif
