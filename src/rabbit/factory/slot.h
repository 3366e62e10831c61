/* SPDX-License-Identifier: MIT */
/* The place of a connection in its factory: the state of the connection, or of the attempts to make one. A factory has
 * a slot for each role. */
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

/* Under the factory's lock. Only the recovery thread changes it, but for what somebody asks for: the first attempt, or
 * another one at once. */
typedef struct cny_slot {
    coney_connection_factory *factory; /* the one that the slot is part of */
    coney_connection_role role;
    cny_slot_state state;
    cny_connection *connection; /* from CONNECTING to OPEN; NULL: there is none. Stays until the end if CLOSED */
    cny_error *last_error;      /* of the last loss or failed attempt */
    cny_error *last_loss;       /* of a connection that was open */
    /* attempts */
    int attempt;          /* their number since the slot was open */
    int delay_ms;         /* before the next attempt, */
    bool skips_delay;     /* which does not wait so long */
    int64_t next_attempt; /* the time of it */
    int declare_delay_ms; /* before the next attempt after losses while DECLARING; 0: there was none */
    int request_closes;   /* how often in a row the broker closed the connection over a request */
    size_t first_host;    /* of the next attempt, */
    size_t lost_host;     /* but for this host, which comes last; CNY_NO_HOST: none was just lost */
    int64_t refresh_at;   /* the credentials; INT64_MAX: never */
    /* times */
    int64_t logged_in_at;
    int64_t declared_at;
    int64_t opened_at;     /* for use */
    int64_t blocked_since; /* in microseconds; 0: the broker takes messages */
    uint64_t blocked_us;   /* before that, in total */
    /* counts since the factory was made */
    uint64_t times_opened;
    uint64_t failures;           /* of attempts */
    uint64_t consumers_failures; /* the consuming slot's failures when this slot had declared */
    /* what the program is told */
    coney_connection_info news; /* the last one */
    bool to_be_logged;          /* as soon as the lock is not held */
} cny_slot;

const char *cny_role_name(coney_connection_role role);

/* ---- under the factory's lock ---- */

/* Fills in how the slot is doing. */
void cny_slot_describe(const cny_slot *slot, coney_connection_info *info);

/* The slot is not what it was: the program is told, in the order of such changes, and the recovery thread is woken. */
void cny_slot_changed(cny_slot *slot);

/* The one place where the state changes. */
void cny_slot_set_state(cny_slot *slot, cny_slot_state state);

/* Somebody needs a connection: begins to connect if nobody has before. CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
coney_status cny_slot_want(cny_slot *slot);

/* Connects at once, also after the last attempt has failed. Not for a slot that has a connection. */
void cny_slot_retry(cny_slot *slot);

/* Publishers are held back from now on, or are not. Counts for how long. */
void cny_slot_count_blocked(cny_slot *slot, bool blocked);

/* ---- not under a lock ---- */

void cny_slot_log(const coney_connection_info *news);

#endif
