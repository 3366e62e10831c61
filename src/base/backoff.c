/* SPDX-License-Identifier: MIT */
/* Delays that grow from one failure to the next: checks and defaults of their options, and the delays. Any thread.
 * Knows nothing of what fails. */
#include "base/base.h"

#define DEFAULT_FIRST_DELAY_MS 1000
#define DEFAULT_MULTIPLIER 2

coney_status cny_backoff_check(const char *option, int first_delay_ms, double multiplier, int max_delay_ms)
{
    if (first_delay_ms < 0)
        return cny_fail(CONEY_E_INVALID, "%s.first_delay_ms is %d, below 0", option, first_delay_ms);
    if (max_delay_ms < 0)
        return cny_fail(CONEY_E_INVALID, "%s.max_delay_ms is %d, below 0", option, max_delay_ms);
    if (max_delay_ms != 0 && max_delay_ms < first_delay_ms)
        return cny_fail(CONEY_E_INVALID, "%s.max_delay_ms %d is below %s.first_delay_ms %d", option, max_delay_ms,
                        option, first_delay_ms);
    if (multiplier != 0 && !(multiplier >= 1)) /* NaN is neither */
        return cny_fail(CONEY_E_INVALID, "%s.multiplier is %g; 1 is the least", option, multiplier);
    return CONEY_OK;
}

void cny_backoff_set_defaults(int *first_delay_ms, double *multiplier, int *max_delay_ms, int default_max_delay_ms)
{
    int first = *first_delay_ms, max = *max_delay_ms;
    if (first == 0)
        *first_delay_ms = max != 0 && max < DEFAULT_FIRST_DELAY_MS ? max : DEFAULT_FIRST_DELAY_MS;
    if (max == 0)
        *max_delay_ms = first > default_max_delay_ms ? first : default_max_delay_ms;
    if (*multiplier == 0)
        *multiplier = DEFAULT_MULTIPLIER;
}

int cny_backoff(int delay_ms, int first_delay_ms, double multiplier, int max_delay_ms)
{
    if (delay_ms == 0)
        return first_delay_ms;
    double longer = delay_ms * multiplier;
    return longer < max_delay_ms ? (int)longer : max_delay_ms;
}

int cny_backoff_after(int failures, int first_delay_ms, double multiplier, int max_delay_ms)
{
    int before_ms = -1, delay_ms = 0;
    for (int i = 0; i < failures && delay_ms > before_ms; i++) {
        before_ms = delay_ms;
        delay_ms = cny_backoff(delay_ms, first_delay_ms, multiplier, max_delay_ms);
    }
    return delay_ms < max_delay_ms ? delay_ms : max_delay_ms;
}

int cny_jitter(int delay_ms)
{
    return delay_ms - (int)cny_random((uint32_t)delay_ms / 2 + 1);
}
