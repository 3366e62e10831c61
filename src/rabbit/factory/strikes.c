/* SPDX-License-Identifier: MIT */
/* Counts the strikes of a request, and makes it pause. Any thread; whoever has the strikes guards them. It must not
 * know what the request is. */
#include "rabbit/factory/factory.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 30000

void cny_strike(cny_strikes *strikes, int64_t now)
{
    strikes->count++;
    if (strikes->count > CNY_STRIKES_TO_ISOLATE)
        strikes->delay_ms = cny_backoff(strikes->delay_ms, FIRST_PAUSE_MS, 2, LONGEST_PAUSE_MS);
    strikes->retry_at = now + strikes->delay_ms;
}

void cny_strikes_clear(cny_strikes *strikes)
{
    *strikes = (cny_strikes){0};
}
