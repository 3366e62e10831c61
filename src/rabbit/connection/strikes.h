/* SPDX-License-Identifier: MIT */
/* How often a request was a suspect: the broker closed the connection while the request was not answered yet. */
#ifndef CNY_CONNECTION_STRIKES_H
#define CNY_CONNECTION_STRIKES_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed at first. The owner guards it. */
typedef struct cny_strikes {
    int count;
    int delay_ms;     /* of the last pause */
    int64_t retry_at; /* not before that time, as cny_now_ms() tells it */
} cny_strikes;

enum { CNY_STRIKES_TO_ISOLATE = 2 };

/* The request was a suspect, or was refused alone. The first two times it may be tried again at once, then after pauses
 * of 1 s, which double up to 30 s. */
void cny_strike(cny_strikes *strikes, int64_t now);
void cny_strikes_clear(cny_strikes *strikes); /* the broker has answered it */

/* From now on it is to be tried alone. */
static inline bool cny_must_isolate(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_ISOLATE;
}

#endif
