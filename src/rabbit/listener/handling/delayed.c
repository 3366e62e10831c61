/* SPDX-License-Identifier: MIT */
/* The deliveries of a lane that wait before they go back to the queue, in the order of their times. The worker that
 * runs the lane. */
#include "rabbit/listener/handling/lane.h"

#include <string.h>

typedef struct delayed {
    int64_t due;
    coney_delivery *delivery;
} delayed;

size_t cny_lane_delayed(const cny_lane *lane)
{
    return lane->delayed.size / sizeof(delayed);
}

static delayed *list_of(const cny_lane *lane, size_t *count)
{
    *count = cny_lane_delayed(lane);
    return (delayed *)(void *)lane->delayed.data;
}

bool cny_lane_delay(cny_lane *lane, coney_delivery *delivery, int64_t due)
{
    const delayed last = {.due = due, .delivery = delivery};
    if (!cny_buffer_append(&lane->delayed, &last, sizeof last))
        return false;
    size_t count;
    delayed *list = list_of(lane, &count);
    size_t place = count - 1;
    for (; place > 0 && list[place - 1].due > due; place--)
        list[place] = list[place - 1];
    list[place] = last;
    return true;
}

int64_t cny_lane_next_due(const cny_lane *lane)
{
    size_t count;
    const delayed *list = list_of(lane, &count);
    return count > 0 ? list[0].due : INT64_MAX;
}

size_t cny_lane_take_due(cny_lane *lane, int64_t now, void (*take)(cny_lane *lane, coney_delivery *delivery))
{
    size_t count, taken = 0;
    delayed *list = list_of(lane, &count);
    for (; taken < count && list[taken].due <= now; taken++)
        take(lane, list[taken].delivery);
    if (taken > 0) {
        memmove(list, list + taken, (count - taken) * sizeof *list);
        lane->delayed.size = (count - taken) * sizeof *list;
    }
    return taken;
}
