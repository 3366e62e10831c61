/* SPDX-License-Identifier: MIT */
/* The place of a connection in its factory: the connection there is, or the next attempt. */
#ifndef CNY_FACTORY_SLOT_H
#define CNY_FACTORY_SLOT_H

#include "rabbit/connection/connection.h"

/* What may follow what: see cny_slot_may_follow(). */
typedef enum cny_slot_state {
    CNY_SLOT_IDLE,               /* nobody has needed a connection yet */
    CNY_SLOT_BACKING_OFF,        /* there is none; the next attempt is due at next_attempt */
    CNY_SLOT_CONNECTING,         /* until it is logged in */
    CNY_SLOT_DECLARING,          /* what is to be declared comes before any use */
    CNY_SLOT_AWAITING_CONSUMERS, /* publishers wait until consumers have resumed */
    CNY_SLOT_OPEN,               /* for use */
    CNY_SLOT_FAILED,             /* given up until coney_connection_factory_connect() is called */
    CNY_SLOT_CLOSED,             /* with the factory */
} cny_slot_state;

enum { CNY_SLOT_STATES = CNY_SLOT_CLOSED + 1 };

bool cny_slot_may_follow(cny_slot_state from, cny_slot_state to);
coney_connection_state cny_slot_public_state(cny_slot_state state); /* what the program is told */
bool cny_slot_is_logged_in(cny_slot_state state);

/* Under the factory's lock. */
typedef struct cny_slot {
    coney_connection_factory *factory; /* the one it is part of */
    coney_connection_role role;
    cny_slot_state state;
    bool to_be_logged;          /* news, as soon as the lock is not held */
    int declare_delay_ms;       /* after a connection that was logged in and lost while it was prepared */
    cny_connection *connection; /* NULL: none, or none yet. Only the recovery thread changes it */
    cny_error *reason;          /* of the last loss or failed attempt */
    cny_error *loss;            /* the last one */
    int attempt;                /* since it was open */
    int delay_ms;               /* before the next attempt, */
    bool hurries;               /* which does not wait for it */
    int refusals;               /* how often in a row the broker closed it over a request */
    int64_t next_attempt;       /* when */
    int64_t logged_in_at;
    int64_t prepared_at;
    int64_t opened_at;           /* for use */
    int64_t blocked_since;       /* in microseconds; 0: it is not */
    uint64_t blocked_us;         /* before that */
    int64_t refresh_at;          /* the credentials; INT64_MAX: never */
    uint64_t times_opened;       /* ever */
    uint64_t failures;           /* of attempts, ever */
    uint64_t consumers_failures; /* those of the consuming slot when this one connected */
    size_t first_host;           /* of the next attempt, */
    size_t lost_host;            /* but for this one, which comes last; CNY_NO_HOST: none was just lost */
    coney_connection_info news;
} cny_slot;

const char *cny_role_name(coney_connection_role role);

/* Under the factory's lock: how the slot is doing. */
void cny_slot_describe(const cny_slot *slot, coney_connection_info *info);

/* Under the factory's lock, so that news are told in order: the slot is not what it was. */
void cny_slot_changed(cny_slot *slot);

/* Under the factory's lock: the one place where the state changes. */
void cny_slot_set_state(cny_slot *slot, cny_slot_state state);

/* Under the factory's lock: somebody needs it. retry: and it begins again even if it has failed for good. */
coney_status cny_slot_want(cny_slot *slot);
void cny_slot_retry(cny_slot *slot);

/* Under the factory's lock: publishers are held back from now on, or are not. */
void cny_slot_count_blocked(cny_slot *slot, bool blocked);

void cny_slot_log(const coney_connection_info *news); /* not under a lock */

#endif
