/* SPDX-License-Identifier: MIT */
/* The table of a consumer's states. Pure functions. */
#include "rabbit/listener/consuming/consumer_state.h"

#include <assert.h>

#define BIT(state) (1U << CNY_CONSUMER_##state)
#define WAITING (BIT(BACKS_OFF) | BIT(AWAITS_CONNECTION) | BIT(AWAITS_QUEUE) | BIT(AWAITS_ISOLATION))

bool cny_life_may_follow(cny_consumer_state from, cny_consumer_state to)
{
    static const unsigned followers[CNY_CONSUMER_STATES] = {
        [CNY_CONSUMER_BACKS_OFF] = WAITING | BIT(SUBSCRIBING),
        [CNY_CONSUMER_AWAITS_CONNECTION] = WAITING | BIT(SUBSCRIBING),
        [CNY_CONSUMER_AWAITS_QUEUE] = WAITING | BIT(SUBSCRIBING),
        [CNY_CONSUMER_AWAITS_ISOLATION] = WAITING | BIT(SUBSCRIBING),
        [CNY_CONSUMER_SUBSCRIBING] = WAITING | BIT(SUBSCRIBING) | BIT(CONSUMING) | BIT(ENDING),
        [CNY_CONSUMER_CONSUMING] = BIT(LEAVING) | BIT(ENDING),
        [CNY_CONSUMER_LEAVING] = WAITING | BIT(ENDING),
        [CNY_CONSUMER_ENDING] = BIT(ENDING) | BIT(LEAVING), /* it is wanted again */
    };
    return (followers[from] & 1U << to) != 0;
}

void cny_life_wait(cny_life *life, cny_consumer_state state, int64_t retry_at)
{
    assert(cny_life_may_follow(life->state, state) && state <= CNY_CONSUMER_AWAITS_ISOLATION);
    life->state = state;
    life->retry_at = retry_at;
}

void cny_life_enter(cny_life *life, cny_consumer_state state, int64_t deadline)
{
    assert(cny_life_may_follow(life->state, state) && state > CNY_CONSUMER_AWAITS_ISOLATION);
    life->state = state;
    life->deadline = deadline;
}

bool cny_life_must_try(const cny_life *life, int64_t now, bool is_connected, bool has_turn)
{
    switch (life->state) {
    case CNY_CONSUMER_BACKS_OFF: return now >= life->retry_at;
    case CNY_CONSUMER_AWAITS_CONNECTION: return is_connected || now >= life->retry_at;
    case CNY_CONSUMER_AWAITS_QUEUE: return true;
    case CNY_CONSUMER_AWAITS_ISOLATION: return has_turn;
    case CNY_CONSUMER_SUBSCRIBING:
    case CNY_CONSUMER_CONSUMING:
    case CNY_CONSUMER_LEAVING:
    case CNY_CONSUMER_ENDING: break;
    }
    return false;
}

/* After the deadline of a consumer that leaves or ends, only its handlers and the broker are waited for, and these wake
 * the supervisor. */
int64_t cny_life_next_look(const cny_life *life, int64_t now)
{
    switch (life->state) {
    case CNY_CONSUMER_BACKS_OFF:
    case CNY_CONSUMER_AWAITS_CONNECTION:
    case CNY_CONSUMER_AWAITS_QUEUE:
    case CNY_CONSUMER_AWAITS_ISOLATION: return life->retry_at;
    case CNY_CONSUMER_SUBSCRIBING: return life->deadline;
    case CNY_CONSUMER_CONSUMING: break;
    case CNY_CONSUMER_LEAVING:
    case CNY_CONSUMER_ENDING: return now < life->deadline ? life->deadline : INT64_MAX;
    }
    return INT64_MAX;
}
