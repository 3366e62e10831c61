/* SPDX-License-Identifier: MIT */
/* Decides when the I/O thread reads: pacing.h tells why. I/O thread only. Knows nothing of what is read. */
#include "rabbit/connection/io.h"

#define STREAM 8 /* so many deliveries in a moment are one */

static bool is_streaming(const cny_connection *connection)
{
    const cny_pacing *pacing = &connection->pacing;
    if (connection->role == CONEY_PUBLISHING)
        return pacing->is_streaming;
    return pacing->is_streaming && pacing->deliveries >= STREAM && !pacing->window_short;
}

static void look_for_full_feeds(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    connection->pacing.is_held = connection->pacing.full_feeds > 0 && connection->state == CNY_OPEN;
    pthread_mutex_unlock(&connection->lock);
}

static cny_reading decide_to_coalesce(cny_connection *connection)
{
    cny_pacing *pacing = &connection->pacing;
    bool too_soon = cny_now_ms() < connection->last_read_ms + CNY_COALESCING_MS;
    pthread_mutex_lock(&connection->lock);
    pacing->is_coalescing = too_soon && pacing->waiting_for_answer == 0 && connection->state == CNY_OPEN;
    cny_reading reading = pacing->is_coalescing ? CNY_READ_SOON : CNY_READ_NOW;
    pthread_mutex_unlock(&connection->lock);
    return reading;
}

cny_reading cny_pacing_decide(cny_connection *connection)
{
    if (connection->pacing.is_held)
        look_for_full_feeds(connection);
    if (connection->pacing.is_held)
        return CNY_READ_LATER;
    return is_streaming(connection) ? decide_to_coalesce(connection) : CNY_READ_NOW;
}

void cny_pacing_begin_read(cny_pacing *pacing)
{
    int64_t now = cny_now_ms();
    if (now == pacing->moment_ms)
        return;
    pacing->moment_ms = now;
    pacing->moment++;
    pacing->deliveries = 0;
    pacing->window_short = false;
}
