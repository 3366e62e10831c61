/* SPDX-License-Identifier: MIT */
/* The input is the properties of a delivery, after a byte that chooses how it came. A listener counts the attempts by
 * its headers, which anybody may have written: the counts have bounds, and addresses are views of the message. */
#include "support/fuzz.h"
#include "support/wire_input.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/provenance.h"

#include <string.h>

#define QUEUE "here"

static void set_up(cny_spec *spec, uint8_t choice)
{
    memset(spec, 0, sizeof *spec);
    spec->options = (coney_listener){.queue = QUEUE, .prefetch = 1, .max_concurrency = 1};
    spec->options.retry.stateful = choice & 4;
    spec->delay_count = 2;
    spec->delay_queues[0] = QUEUE ".retry.1";
    spec->delay_queues[1] = QUEUE ".retry.2";
    spec->quarantine_queue = choice & 8 ? QUEUE ".quarantine" : NULL;
    atomic_init(&spec->queue.kind, choice & 16 ? CONEY_QUORUM : CONEY_CLASSIC);
}

static void count(const cny_source *source, const coney_message *message)
{
    const cny_spec *spec = source->handling->spec;
    uint64_t rejections;
    int round = cny_ladder_round(spec, message), earlier = cny_earlier_attempts(source, message);
    fuzz_require(round >= 0 && round <= spec->delay_count);
    fuzz_require(earlier >= round && earlier <= CNY_MOST_COUNTED);
    fuzz_require(cny_rejections(QUEUE, message) >= 0);
    fuzz_require(cny_rejections(QUEUE, message) <= cny_rejections(NULL, message));
    fuzz_require(cny_returns_here(source->handling, message) >= -1);
    fuzz_require(cny_redeliveries(source->handling, message) >= 0);
    bool has_expired = cny_expired_after_rejection(spec, message, &rejections);
    fuzz_require(has_expired || rejections == 0);
    fuzz_require(!cny_has_counted_death(message) || cny_was_dead_lettered(message));
    cny_has_just_come(message);
}

static void handle(cny_spec *spec, coney_message *message)
{
    static cny_handling_context context;
    cny_handling handling = {0};
    if (!cny_handling_init(&handling, &context, spec))
        return;
    const cny_source source = {.handling = &handling};
    count(&source, message);
    cny_restore_address(spec, message);
    fuzz_read_message(message);
    cny_handling_free(&handling);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    uint8_t choice = fuzz_take(&data, &size);
    cny_spec spec;
    coney_message *message = fuzz_decode_properties(data, size);
    if (!message)
        return;
    set_up(&spec, choice);
    message->redelivered = choice & 1;
    if (choice & 2) { /* through the default exchange */
        message->exchange = "";
        message->routing_key = QUEUE;
    }
    handle(&spec, message);
    coney_message_unref(message);
}
