/* SPDX-License-Identifier: MIT */
/* How often a request was a suspect: the broker closed the connection while the request was not answered yet, or gave
 * no answer in time and may still close the connection over that. */
#ifndef CNY_FACTORY_STRIKES_H
#define CNY_FACTORY_STRIKES_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed at first. The owner guards it. */
typedef struct cny_strikes {
    int count;
    int delay_ms;     /* of the last pause */
    int64_t retry_at; /* not before that time, as cny_now_ms() tells it */
} cny_strikes;

enum {
    CNY_STRIKES_TO_ISOLATE = 2,
    CNY_STRIKES_TO_BE_ALONE = 3, /* one of these on the isolated connection, beside others */
};

/* The request was a suspect, or was refused alone. The first two times it may be tried again at once, then after pauses
 * of 1 s, which double up to 30 s. */
void cny_strike(cny_strikes *strikes, int64_t now);
void cny_strikes_clear(cny_strikes *strikes); /* the broker has answered it */

/* No more strikes are needed: the request had no answer, or others like it did harm. */
static inline void cny_strikes_isolate(cny_strikes *strikes)
{
    if (strikes->count < CNY_STRIKES_TO_ISOLATE)
        strikes->count = CNY_STRIKES_TO_ISOLATE;
}

/* From now on it is to be tried on the isolated connection. */
static inline bool cny_must_isolate(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_ISOLATE;
}

/* From now on it is to be tried there with no other request beside it. */
static inline bool cny_must_be_alone(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_BE_ALONE;
}

#endif
