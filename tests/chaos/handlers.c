/* SPDX-License-Identifier: MIT */
#include "chaos/handlers.h"

#include "chaos/bodies.h"
#include "chaos/dice.h"
#include "chaos/settlers.h"

#include <inttypes.h>
#include <stdio.h>

enum { OUT_OF = 100000, MOST_HANG_MS = 3000, HOPELESS_EVERY = 499 };

/* What a handler is in the mood for. */
typedef enum mood { DILIGENT, FAILS, REQUEUES, REJECTS, HANGS, SAYS_STOP, CALLS_STOP, MOODS } mood;

static const char *const mood_names[MOODS] = {"acknowledged", "failed",          "requeued",      "rejected",
                                              "hung",         "said CONEY_STOP", "stopped it all"};

/* How often out of OUT_OF. Only where dead letters are safe may one be rejected: a classic queue forgets a message
 * before the next queue has it. */
static const int tempers[QUEUES][MOODS] = {
    [CLASSIC] = {[FAILS] = 500, [REQUEUES] = 300, [HANGS] = 20, [SAYS_STOP] = 20, [CALLS_STOP] = 20},
    [QUORUM] = {[FAILS] = 2000, [REQUEUES] = 300, [REJECTS] = 500, [HANGS] = 20, [SAYS_STOP] = 20, [CALLS_STOP] = 20},
    [LANES] = {[FAILS] = 2000, [REQUEUES] = 300, [REJECTS] = 500, [HANGS] = 50, [SAYS_STOP] = 20, [CALLS_STOP] = 20},
    [DEAD] = {[FAILS] = 500, [REQUEUES] = 500, [HANGS] = 100, [SAYS_STOP] = 20, [CALLS_STOP] = 20},
    [PARKING] = {[FAILS] = 500, [REQUEUES] = 500, [HANGS] = 100, [SAYS_STOP] = 20, [CALLS_STOP] = 20},
};

static dice chance;
static atomic_bool calm;
static atomic_int_least64_t moods_seen[MOODS];
static atomic_bool key_in_hand[KEYS];

static mood draw_mood(int queue)
{
    if (atomic_load(&calm))
        return DILIGENT;
    int number = dice_between(&chance, 0, OUT_OF - 1);
    for (int i = 0; i < MOODS; i++) {
        number -= tempers[queue][i];
        if (number < 0)
            return (mood)i;
    }
    return DILIGENT;
}

/* Where attempts end some messages need that: they always fail. */
static bool is_hopeless(int64_t id, int queue)
{
    return (queue == QUORUM || queue == LANES) && id / PUBLISHED % HOPELESS_EVERY == 0;
}

/* Those that were parked or rejected must say so. */
static bool came_rightly(const coney_message *message, int queue)
{
    if (queue == PARKING)
        return coney_message_header(message, CONEY_HEADER_EXCEPTION_MESSAGE) &&
               coney_message_header(message, CONEY_HEADER_ATTEMPTS);
    return queue != DEAD || coney_message_header(message, "x-death");
}

/* The id, or 0 if nobody sent it in that form. */
static int64_t take_up(const coney_delivery *delivery, int queue)
{
    const coney_message *message = coney_delivery_message(delivery);
    int64_t id = read_message(message);
    if (id == 0 || !came_rightly(message, queue)) {
        account_corrupt();
        return 0;
    }
    account_try(id);
    return id;
}

static coney_outcome behave(coney_delivery *delivery, const handler_user *who, mood drawn)
{
    switch (drawn) {
    case FAILS: return coney_delivery_fail(delivery, CONEY_RETRY, "a bad day");
    case REQUEUES: return CONEY_REQUEUE;
    case REJECTS: return CONEY_REJECT;
    case SAYS_STOP: return coney_delivery_fail(delivery, CONEY_STOP, "no more today");
    case CALLS_STOP: coney_container_stop(who->container); return CONEY_ACK;
    case HANGS: sleep_ms(dice_between(&chance, 0, MOST_HANG_MS)); return CONEY_ACK;
    default: return CONEY_ACK;
    }
}

static coney_outcome act(coney_delivery *delivery, const handler_user *who, int64_t id)
{
    mood drawn = is_hopeless(id, who->queue) ? FAILS : draw_mood(who->queue);
    atomic_fetch_add(&moods_seen[drawn], 1);
    return behave(delivery, who, drawn);
}

coney_outcome handle(coney_delivery *delivery, void *user)
{
    const handler_user *who = user;
    int64_t id = take_up(delivery, who->queue);
    if (id == 0)
        return CONEY_ACK;
    coney_outcome outcome = act(delivery, who, id);
    if (outcome == CONEY_ACK)
        account_handle(id, who->queue);
    return outcome;
}

/* Lanes promise that messages of one key are not handled at the same time. */
coney_outcome handle_in_lane(coney_delivery *delivery, void *user)
{
    const coney_properties *properties = coney_message_properties(coney_delivery_message(delivery));
    int64_t key = coney_table_get_int64(properties->headers, KEY_HEADER, 0);
    if (atomic_exchange(&key_in_hand[key], true))
        account_surprise("two messages of one key were handled at once");
    coney_outcome outcome = handle(delivery, user);
    atomic_store(&key_in_hand[key], false);
    return outcome;
}

coney_outcome handle_manually(coney_delivery *delivery, void *user)
{
    const handler_user *who = user;
    int64_t id = take_up(delivery, who->queue);
    if (id == 0)
        return CONEY_ACK;
    coney_outcome outcome = act(delivery, who, id);
    if (outcome != CONEY_ACK || dice_between(&chance, 1, 10) == 1) {
        if (outcome == CONEY_ACK)
            account_handle(id, who->queue);
        return outcome;
    }
    settle_later(delivery, id, who->queue);
    return CONEY_DEFER;
}

bool handlers_start(uint64_t seed)
{
    atomic_store(&chance.state, ~seed);
    return settlers_start(~seed * 3);
}

void handlers_stop(void)
{
    settlers_stop();
}

void handlers_calm_down(void)
{
    atomic_store(&calm, true);
    settlers_calm_down();
}

void handlers_print(void)
{
    printf("  handlers   ");
    for (int i = 0; i < MOODS; i++)
        printf("%s %s %" PRId64, i ? "," : "", mood_names[i], atomic_load(&moods_seen[i]));
    printf("\n");
    settlers_print();
}
