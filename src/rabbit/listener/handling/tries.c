/* SPDX-License-Identifier: MIT */
/* Attempts in place that go on when a message comes again after a loss or a stop. Runs on workers and on threads that
 * settle. */
#include "rabbit/listener/handling/tries.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/memory.h"

static bool tries_in_place(const cny_spec *spec)
{
    const coney_listener_retry *retry = &spec->options.retry;
    return !retry->stateful && cny_spec_max_attempts(spec) > 1 && !cny_acknowledges_nothing(spec);
}

void cny_tries_keep(const coney_delivery *delivery, int tries)
{
    const cny_handling *handling = delivery->source->handling;
    if (tries > 0 && tries_in_place(handling->spec))
        cny_history_keep_tries(&handling->memory->histories, cny_original(delivery), delivery->fragment_number, tries);
}

/* Attempts in place of the message or fragment, by its history. With forget they begin anew the next time. */
static int kept_tries(const coney_delivery *delivery, bool forget)
{
    return cny_history_tries(&delivery->source->handling->memory->histories, cny_original(delivery),
                             delivery->fragment_number, forget);
}

/* The broker counts the redelivery that followed these attempts, too. */
void cny_tries_resume(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    int tries = tries_in_place(handling->spec) ? kept_tries(delivery, false) : 0;
    if (tries == 0)
        return;
    int64_t counted = cny_redeliveries(handling, cny_original(delivery));
    delivery->earlier_attempts -= counted < tries ? (int)counted : tries;
    delivery->tries = tries;
}

void cny_tries_forget(const coney_delivery *delivery)
{
    kept_tries(delivery, true);
}

bool cny_tries_begin(coney_delivery *delivery)
{
    int most = cny_spec_max_attempts(delivery->source->handling->spec);
    if (delivery->tries < most || delivery->tries == 0)
        return true;
    delivery->tries = most - 1;
    if (!delivery->failure)
        delivery->failure = cny_error_new(CONEY_E_LOST, 0, "its channel was lost during the last attempt");
    return false;
}
