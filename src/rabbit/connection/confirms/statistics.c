/* SPDX-License-Identifier: MIT */
/* Sums of what was counted, and the list of what is unconfirmed, for people to read. Any thread. */
#include "rabbit/connection/confirms/confirms.h"

#include <string.h>

/* All its members are counters of the same type, so new ones are summed up without being named here. */
void cny_statistics_add(coney_send_statistics *sum, const coney_send_statistics *more)
{
    enum { COUNT = sizeof *sum / sizeof(uint64_t) };
    _Static_assert(sizeof *sum == COUNT * sizeof(uint64_t), "there are counters only");
    uint64_t sums[COUNT], added[COUNT];
    memcpy(sums, sum, sizeof sums);
    memcpy(added, more, sizeof added);
    for (size_t i = 0; i < COUNT; i++)
        sums[i] += added[i];
    memcpy(sum, sums, sizeof sums);
}

static bool append(cny_buffer *list, cny_arena *arena, const cny_confirm *confirm)
{
    const char *route = cny_confirm_route(confirm);
    size_t exchange_size = strlen(route) + 1;
    cny_unconfirmed found = {.sent_us = confirm->sent_us};
    bool copied = cny_arena_strdup(arena, &found.exchange, route) &&
                  cny_arena_strdup(arena, &found.routing_key, route + exchange_size) &&
                  cny_buffer_reserve(list, sizeof found);
    if (!copied)
        return false;
    found.message = coney_message_ref(confirm->message);
    return cny_buffer_append(list, &found, sizeof found);
}

coney_status cny_confirms_list(const cny_confirms *confirms, int64_t until_us, cny_buffer *list, cny_arena *arena)
{
    bool appended = true;
    for (size_t i = 0; appended && i < cny_confirms_outstanding(confirms); i++) {
        const cny_confirm *confirm = cny_confirms_nth(confirms, i);
        if (!confirm->done && confirm->sent_us <= until_us)
            appended = append(list, arena, confirm);
    }
    return appended ? CONEY_OK : cny_fail_memory();
}
