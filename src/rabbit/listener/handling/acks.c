/* SPDX-License-Identifier: MIT */
/* Acknowledgements of several messages at once. Runs on the worker of the lane. */
#include "rabbit/listener/handling/acks.h"

bool cny_lane_holds_acks(const cny_lane *lane)
{
    return lane->source->handling->spec->options.ack_every > 1 && cny_lane_next_due(lane) == INT64_MAX;
}

/* The broker waits for none of them as long as they are fewer than the prefetch. */
bool cny_lane_add_ack(cny_lane *lane, const coney_message *message)
{
    const coney_listener *options = &lane->source->handling->spec->options;
    lane->ack_tag = message->delivery_tag;
    lane->ack_bytes += cny_message_weight(message);
    if (lane->acks++ == 0)
        lane->ack_due = cny_deadline(options->ack_after_ms);
    return lane->acks >= (size_t)options->ack_every || (int)lane->acks >= cny_channel_prefetch(lane->source->channel);
}

coney_status cny_lane_send_acks(cny_lane *lane)
{
    size_t acks = lane->acks, bytes = lane->ack_bytes;
    lane->acks = lane->ack_bytes = 0;
    lane->ack_due = 0;
    if (acks == 0)
        return CONEY_OK;
    return cny_channel_settle_held(lane->source->channel, lane->ack_tag, CNY_SETTLE_ACK_UP_TO, acks, bytes);
}

void cny_lane_flush_acks(cny_lane *lane)
{
    if (!cny_lane_is_suspended(lane) && cny_lane_send_acks(lane) == CONEY_E_NO_MEMORY)
        cny_channel_close(lane->source->channel);
}

void cny_lane_flush_due_acks(cny_lane *lane)
{
    if (lane->ack_due > 0 && cny_now_ms() >= lane->ack_due)
        cny_lane_flush_acks(lane);
}
