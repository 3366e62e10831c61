/* SPDX-License-Identifier: MIT */
/* Waits for the confirms of replies, many together, so that a listener is not bound to one request for each round trip
 * to the broker. Runs on the worker of the lane. */
#include "rabbit/listener/handling/replying.h"

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/dispatch.h"
#include "rabbit/listener/handling/outcomes.h"
#include "rabbit/listener/handling/reply.h"

#include <string.h>

enum { MOST = 256, MEMORY_PAUSE_MS = 100 };

static coney_delivery **all_replying(const cny_lane *lane, size_t *count)
{
    *count = lane->replying.size / sizeof(coney_delivery *);
    return (coney_delivery **)(void *)lane->replying.data;
}

bool cny_lane_put_aside(cny_lane *lane)
{
    size_t count;
    coney_delivery **items = cny_lane_items(lane, &count);
    if (!cny_buffer_append(&lane->replying, items, sizeof *items))
        return false;
    lane->first_item++;
    if (count == 1)
        lane->items.size = lane->first_item = 0;
    return true;
}

bool cny_lane_has_enough_replying(const cny_lane *lane)
{
    size_t count;
    all_replying(lane, &count);
    return count >= MOST;
}

bool cny_lane_has_replied(const cny_lane *lane)
{
    size_t count;
    return cny_reply_is_done(all_replying(lane, &count)[0]);
}

bool cny_lane_rest_until_replied(cny_lane *lane)
{
    size_t count;
    coney_delivery **all = all_replying(lane, &count);
    return cny_reply_wake_lane(all[count - 1], lane);
}

int64_t cny_lane_replying_until(const cny_lane *lane)
{
    size_t count;
    coney_delivery **all = all_replying(lane, &count);
    return count > 0 ? cny_reply_deadline(all[0]) : INT64_MAX;
}

/* How many deliveries are to be settled: the oldest one, and those after it that can be without another wait. */
static size_t count_done(const cny_lane *lane)
{
    size_t count, done = 1;
    coney_delivery **all = all_replying(lane, &count);
    while (done < count && cny_reply_is_done(all[done]))
        done++;
    return done;
}

/* The oldest deliveries become the first items again, for which there is room. */
static void put_back(cny_lane *lane, size_t back)
{
    size_t count, bytes = back * sizeof(coney_delivery *), first = lane->first_item * sizeof(coney_delivery *);
    coney_delivery **all = all_replying(lane, &count);
    size_t kept = lane->items.size - first;
    memmove(lane->items.data + bytes, lane->items.data + first, kept);
    memcpy(lane->items.data, all, bytes);
    lane->items.size = bytes + kept;
    lane->first_item = 0;
    memmove(all, all + back, lane->replying.size - bytes);
    lane->replying.size -= bytes;
}

/* Waits for the first replies, whose deliveries become items again, and settles. */
static void settle_first(cny_lane *lane, size_t wanted)
{
    size_t count;
    put_back(lane, wanted);
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < wanted; i++) {
        atomic_store(&lane->deciding, true); /* it waits for the publishing connection */
        coney_outcome outcome = cny_reply_finish(items[i]);
        atomic_store(&lane->deciding, false);
        cny_lane_on_outcome(lane, items[i], cny_dispatch_end(items[i], outcome));
    }
    cny_lane_settle_up(lane, wanted);
}

static bool reserve_items(cny_lane *lane)
{
    return cny_buffer_reserve(&lane->items, lane->replying.size);
}

bool cny_lane_settle_replying(cny_lane *lane)
{
    if (!reserve_items(lane)) {
        cny_lane_rest(lane, MEMORY_PAUSE_MS);
        return false;
    }
    settle_first(lane, count_done(lane));
    return true;
}

void cny_lane_settle_all_replying(cny_lane *lane)
{
    size_t count;
    all_replying(lane, &count);
    if (count == 0)
        return;
    if (reserve_items(lane))
        settle_first(lane, count);
    else
        cny_channel_close(lane->source->channel);
}
