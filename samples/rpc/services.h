/* SPDX-License-Identifier: MIT */
/* The two services as processes, and what happens to the warehouse while payments are made. */
#ifndef SAMPLE_RPC_SERVICES_H
#define SAMPLE_RPC_SERVICES_H

#include <stdbool.h>
#include <stdint.h>

enum { FINE_MS = 1500, DEAD_MS = 2500, SLOW_MS = 2000, STORY_MS = 2 * FINE_MS + DEAD_MS + SLOW_MS, SLOWNESS_MS = 400 };

/* Starts both. The programs are beside this one, whose path is given. */
bool services_start(const char *program, const char *uri);
void services_stop(void);

/* A thread that has the warehouse be fine, dead (kill -9), slow, and fine again. end waits for it. */
void story_begin(void);
void story_end(void);

int64_t now_ms(void);
void sleep_ms(int ms);

#endif
