/* SPDX-License-Identifier: MIT */
/* One consumer, for the files that subscribe it, watch it and end it. Private to the folder. All is under the
 * container's lock, by the supervisor. */
#ifndef CNY_LISTENER_CONSUMING_CONSUMER_H
#define CNY_LISTENER_CONSUMING_CONSUMER_H

#include "rabbit/listener/consuming/consumer_state.h"
#include "rabbit/listener/consuming/consuming.h"

/* What has happened since it consumed last. By subscribing.c. */
typedef struct cny_outage {
    bool has_tried;    /* to subscribe, in vain, on a connection */
    bool told_missing; /* its queue */
    bool has_restored; /* its queue, which was missing */
} cny_outage;

/* Whether its subscription disturbs others. By isolation.c. */
typedef struct cny_consumer_isolation {
    cny_strikes strikes;
    cny_connection *connection; /* a reference: its turn has come, for this connection; NULL: its turn has not come */
    bool needs_consuming; /* its queue is exclusive to the consuming connection, so it subscribes on that in its turn */
    bool is_refused;      /* the broker closed a connection over nothing but its subscription, or gave that no answer,
                           * which is the last error then */
} cny_consumer_isolation;

struct cny_consumer {
    cny_source source; /* what its lanes share; the first member */
    /* fixed after new */
    coney_container *container; /* a reference */
    cny_listener *listener;     /* a reference */
    char tag[256];              /* that is asked for; "": the broker's choice */
    /* under the container's lock */
    cny_consumer *next;
    cny_life life;
    bool is_surplus;       /* it is to end */
    bool has_consumed;     /* ever */
    bool told_end;         /* its lanes know that no more deliveries come on its channel */
    int64_t resumed_at;    /* when it consumed again; 0: never */
    coney_status loss;     /* why it leaves */
    cny_error *last_error; /* why it does not consume; NULL while it does */
    cny_outage outage;
    cny_consumer_isolation isolation;
    /* under the container's lock, by load.c or, for its own consumer, quarantine.c */
    uint64_t seen_received;
    int idle_cycles;
};

/* ---- life; consumer.c ---- */

cny_consumer *cny_consumer_new(coney_container *container, cny_listener *listener, bool is_quarantine); /* or NULL */

/* Opens its channel and subscribes; the answer comes to the channel's feed. */
coney_status cny_consumer_subscribe(cny_consumer *consumer);

/* The consumer waits until retry_at, or, if it has lost its connection, until there is a new one, whichever is
 * first. */
void cny_consumer_back_off(cny_consumer *consumer, int64_t retry_at);

/* The consumer is interrupted: its lanes work off what came before that, unless its channel is closed. */
void cny_consumer_begin_leaving(cny_consumer *consumer, coney_status loss);

/* Notes the deliveries that no lane has taken as unseen and left over; no lane takes them any more. */
void cny_consumer_give_up_rest(cny_consumer *consumer);

/* Closes the channel of a consumer that is idle. Gives how many deferred deliveries were not settled; the broker
 * delivers them again. */
int cny_consumer_drop_channel(cny_consumer *consumer);

/* Drops the channel of a consumer for which no worker has run, with all that was delivered. */
void cny_consumer_withdraw(cny_consumer *consumer);

/* ---- its last error; last_error.c ---- */

/* This thread's last error is why it does not consume. True if that is news: each reason is news once, and only if the
 * connection, which has a log and events of its own, does not come back by itself. */
bool cny_consumer_set_last_error(cny_consumer *consumer, const char *what, bool given_up);
void cny_consumer_forget_last_error(cny_consumer *consumer);

/* This thread's last error is why the broker has ended consuming, and what helps where Coney knows that. */
coney_status cny_consumer_raise_loss(const cny_error *reason);

/* It does not consume because the connection was lost or could not be made. */
bool cny_consumer_is_lost(const cny_consumer *consumer);
bool cny_is_refused_exclusive(const coney_error *error);

void cny_consumer_tell(const cny_consumer *consumer, coney_container_event_kind kind, const cny_error *error);
void cny_consumer_tell_failed(const cny_consumer *consumer, bool fatal); /* its last error */

/* ---- isolation.c ---- */

/* It subscribes, or is subscribed, on the isolated connection, which it must leave when the broker has answered. */
static inline bool cny_consumer_is_isolated(const cny_consumer *consumer)
{
    return consumer->isolation.connection && !consumer->isolation.needs_consuming;
}

bool cny_consumer_must_be_isolated(const cny_consumer *consumer); /* and its turn has not come */
void cny_consumer_await_isolation(cny_consumer *consumer);
void cny_consumer_release(cny_consumer *consumer); /* the broker has answered */

/* Its turn is over, if it is its turn. */
static inline void cny_consumer_end_isolation(cny_consumer *consumer)
{
    cny_connection_unref(consumer->isolation.connection);
    consumer->isolation.connection = NULL;
}

/* Counts the strike if the broker refused the consumer; this thread's last error tells why, and may be replaced by one
 * that tells more. False: the consumer is to try once more, at once. */
bool cny_consumer_note_refusal(cny_consumer *consumer);

/* ---- while the container starts; start.c ---- */

bool cny_consumer_is_hopeless(const cny_consumer *consumer);       /* its last error fails a start at once */
bool cny_consumer_lets_others_begin(const cny_consumer *consumer); /* first */

/* ---- subscribing.c ---- */

void cny_consumer_try_to_subscribe(cny_consumer *consumer);
void cny_consumer_take_answer(cny_consumer *consumer); /* the broker's, to its subscription, if it has come */
void cny_consumer_on_consuming(cny_consumer *consumer);

/* ---- ending.c ---- */

bool cny_consumer_must_end(const cny_consumer *consumer, coney_stop_mode *mode, int64_t *deadline); /* and how */
bool cny_consumer_has_ended(const cny_consumer *consumer);                                          /* its feed */
void cny_consumer_detect_loss(cny_consumer *consumer);
void cny_consumer_go_on_leaving(cny_consumer *consumer);

/* Before its channel is closed at once. */
void cny_consumer_stop_taking(cny_consumer *consumer);

/* Both are true once it has ended. A stop may become harder while it lasts. The second function is for one that has
 * subscribed. */
bool cny_consumer_end(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline);
bool cny_consumer_go_on_ending(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline);

#endif
