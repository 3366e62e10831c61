/* SPDX-License-Identifier: MIT */
/* What a listener remembers of messages, so that it knows them when they come again. Any thread; each memory has a lock
 * of its own, below all others, or needs none. */
#ifndef CNY_HANDLING_MEMORY_H
#define CNY_HANDLING_MEMORY_H

#include "rabbit/listener/handling/handling.h"

/* ---- histories ---- */

/* What has happened to a message in this process. */
typedef struct cny_history {
    int failed;   /* its handler, with stateful retry */
    int unseen;   /* its channel ended before a handler had it */
    int tries;    /* in place, which failed, before its channel was lost or it was given back */
    int survived; /* its handler returned and it went back */
} cny_history;

typedef enum cny_history_event {
    CNY_HISTORY_FAILED,
    CNY_HISTORY_UNSEEN,
    CNY_HISTORY_SURVIVED,
} cny_history_event;

/* The histories of the messages that came back last, by their ids. */
typedef struct cny_histories {
    size_t sets; /* fixed after init */
    pthread_mutex_t lock;
    struct cny_history_entry *kept;
    uint64_t clock;
} cny_histories;

void cny_histories_init(cny_histories *histories, const coney_listener *options); /* with defaults */
void cny_histories_free(cny_histories *histories);

/* Adds to the history of the message, which begins anew if the message is not redelivered. Gives what the history is
 * now, unless that is NULL. False: the message has no id to remember. */
bool cny_history_note(cny_histories *histories, const coney_message *message, cny_history_event event,
                      cny_history *history);
bool cny_history_of(cny_histories *histories, const coney_message *message, cny_history *history); /* false: none */
void cny_history_forget(cny_histories *histories, const coney_message *message);

/* Attempts in place of a message (0), or of a fragment of a batch (from 1). With forget they begin anew the next
 * time. */
void cny_history_keep_tries(cny_histories *histories, const coney_message *message, int fragment, int tries);
int cny_history_tries(cny_histories *histories, const coney_message *message, int fragment, bool forget);

/* ---- back-offs ---- */

/* How long messages waited last before they went back. */
typedef struct cny_backoffs {
    pthread_mutex_t lock;
    struct cny_backoff_slot *slots;
} cny_backoffs;

void cny_backoffs_init(cny_backoffs *backoffs);
void cny_backoffs_free(cny_backoffs *backoffs);

/* ---- rejections ---- */

/* The messages that no handler could get and that were rejected last. */
typedef struct cny_rejected_messages {
    pthread_mutex_t lock;
    struct cny_rejected *places;
} cny_rejected_messages;

void cny_rejected_init(cny_rejected_messages *memory);
void cny_rejected_free(cny_rejected_messages *memory);

/* ---- replies ---- */

/* Where replies were sent that cost the consumer its transaction: the latest addresses, by hash. */
enum { CNY_SPOILERS = 64 };

typedef struct cny_spoilers {
    _Atomic uint64_t addresses[CNY_SPOILERS];
    atomic_uint next;
} cny_spoilers;

/* ---- streams ---- */

/* Where the one consumer of a stream goes on. */
typedef struct cny_position {
    pthread_mutex_t lock;
    int64_t next;               /* the lowest offset that is not acknowledged; -1: where the listener's arguments say */
    int64_t last;               /* the offset that came last; -1: none yet */
    bool is_gone;               /* the stream: another stream of its name is read from its beginning */
    const cny_channel *channel; /* by which the messages of places came; only compared */
    struct cny_place *places;   /* the messages that are not acknowledged, in their order, from first on */
    size_t first, count, capacity;
} cny_position;

void cny_position_init(cny_position *position);
void cny_position_free(cny_position *position);

/* Before a consumer subscribes: replaces the arguments of basic.consume, if it must, by a copy in the arena.
 * CONEY_E_NO_MEMORY. */
coney_status cny_position_begin(cny_position *position, cny_arena *arena, const coney_table **arguments);
void cny_position_restart(cny_position *position); /* the stream is gone */

/* Messages have come, in the order of the channel; false without memory. And one of them is acknowledged. */
bool cny_position_take(cny_position *position, const cny_channel *channel, coney_message *const *messages,
                       size_t count);
void cny_position_pass(cny_position *position, const cny_channel *channel, uint64_t tag);

/* ---- all of them ---- */

struct cny_memory {
    cny_histories histories;
    cny_backoffs backoffs;
    cny_rejected_messages rejected;
    cny_spoilers spoilers;
    cny_position position;
};

#endif
