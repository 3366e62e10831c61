/* SPDX-License-Identifier: MIT */
/* The two services as processes, and what happens to the warehouse while payments are made. */
#ifndef SAMPLE_RPC_SERVICES_H
#define SAMPLE_RPC_SERVICES_H

#include <stdbool.h>
#include <stdint.h>

enum { FINE_MS = 1500, DEAD_MS = 2500, SLOW_MS = 2000, STORY_MS = 2 * FINE_MS + DEAD_MS + SLOW_MS, SLOWNESS_MS = 400 };

/* Starts both. False with a line on stderr. */
bool services_start(const char *uri);
void services_stop(void);

/* The warehouse is fine, dead (kill -9), slow, and fine again. Returns after STORY_MS. The main thread alone calls
 * these three functions, because the services end with the thread that has started them. False with a line on
 * stderr. */
bool services_tell_story(int64_t begin_ms);

int64_t now_ms(void);
void sleep_ms(int ms);

#endif
