/* SPDX-License-Identifier: MIT */
/* The states of a consumer, which may follow which, and when the supervisor has to look at the consumer again. Knows
 * neither broker nor clock: the caller says what time it is. Its owner has a lock for it. */
#ifndef CNY_LISTENER_CONSUMING_CONSUMER_STATE_H
#define CNY_LISTENER_CONSUMING_CONSUMER_STATE_H

#include <stdbool.h>
#include <stdint.h>

/* It waits (in one of the first four states), subscribes, consumes, and ends. An interruption leads from consuming by
 * way of leaving, until its lanes are empty, back to waiting. */
typedef enum cny_consumer_state {
    CNY_CONSUMER_BACKS_OFF,         /* tries again at retry_at; 0: at once */
    CNY_CONSUMER_AWAITS_CONNECTION, /* tries again when the consuming connection is open, or at retry_at */
    CNY_CONSUMER_AWAITS_QUEUE,      /* asks, whenever the supervisor runs, how far its declarations have come */
    CNY_CONSUMER_AWAITS_ISOLATION,  /* subscribes when its turn has come to do that where no other consumer is */
    CNY_CONSUMER_SUBSCRIBING,       /* the broker has until the deadline to answer */
    CNY_CONSUMER_CONSUMING,
    CNY_CONSUMER_LEAVING, /* interrupted: what has come is worked off; at the deadline its channel is closed */
    CNY_CONSUMER_ENDING,  /* it is not wanted any more, and has until the deadline */
} cny_consumer_state;

enum { CNY_CONSUMER_STATES = CNY_CONSUMER_ENDING + 1 };

typedef struct cny_life {
    cny_consumer_state state;
    int64_t retry_at; /* of a consumer that waits: when it tries to subscribe at the latest; INT64_MAX: it is told */
    int64_t deadline; /* of one that subscribes, leaves or ends */
} cny_life;

/* A state may be entered again, with another time. */
bool cny_life_may_follow(cny_consumer_state from, cny_consumer_state to);

/* The first for the states that wait, the second for the others. */
void cny_life_wait(cny_life *life, cny_consumer_state state, int64_t retry_at);
void cny_life_enter(cny_life *life, cny_consumer_state state, int64_t deadline);

static inline bool cny_life_waits(const cny_life *life)
{
    return life->state <= CNY_CONSUMER_AWAITS_ISOLATION;
}

/* The consumer is to try to subscribe. has_turn: of those that await isolation. */
bool cny_life_must_try(const cny_life *life, int64_t now, bool is_connected, bool has_turn);

/* When time alone makes a difference; INT64_MAX: never. */
int64_t cny_life_next_look(const cny_life *life, int64_t now);

#endif
