/* SPDX-License-Identifier: MIT */
/* From the messages that a channel brings to what the broker is told of them. A *source* is what a consumer hands in:
 * its channel, and the lanes that its messages go through. Lanes run on workers, convert, call handlers, settle. The
 * consumer, which subscribes and ends, and its container are not known here: what handling needs of them is handed in.
 *
 * The supervisor and the I/O thread call what is declared here; workers run the lanes. */
#ifndef CNY_LISTENER_HANDLING_H
#define CNY_LISTENER_HANDLING_H

#include "amqp/amqp.h"
#include "base/workers.h"
#include "rabbit/factory/factory.h"
#include "rabbit/listener/handling/intake.h"
#include "rabbit/listener/report/report.h"
#include "rabbit/listener/spec/spec.h"

typedef struct cny_lane cny_lane;

/* ---- what a container hands in ---- */

/* A confirmed channel, opened when it is first needed and replaced when it is gone. */
typedef struct cny_publisher {
    pthread_mutex_t lock; /* below the container's; not held while anything is waited for */
    cny_channel *channel; /* NULL: none yet */
} cny_publisher;

typedef struct cny_handling_context {
    /* fixed after init */
    coney_connection_factory *factory; /* borrowed, like all that follows */
    const char *name;                  /* of the container */
    int publish_timeout_ms;
    size_t max_held_bytes;
    cny_workers *workers;
    cny_event_sink *events;
    void (*wake)(void *self); /* the supervisor; under any lock */
    void (*stop)(void *self); /* the container, for this thread's last error; returns at once */
    void *self;
    /* any thread; have locks of their own */
    cny_processors after_receive;
    cny_publisher failed; /* for messages that are republished */
    cny_publisher replies;
    cny_publisher exchange_replies; /* to exchanges that requests name: a missing exchange costs the channel */
} cny_handling_context;

/* The owner fills in the first part of the context; these functions make and free the second part. */
void cny_handling_context_init(cny_handling_context *context);
void cny_handling_context_free(cny_handling_context *context);

/* ---- what the lanes of a listener share ---- */

/* A message that may kill its process is handled while no lane handles another one. */
typedef struct cny_gate {
    atomic_bool is_wanted; /* there may be a message in the quarantine queue */
    atomic_bool is_closed; /* no lane begins to handle */
    atomic_int at_work;    /* lanes that handle */
} cny_gate;

typedef struct cny_handling {
    /* fixed after init */
    cny_handling_context *context;
    cny_spec *spec;
    struct cny_memory *memory; /* what is remembered of messages */
    /* any thread */
    cny_counters counters;
    cny_limited_log log;
    cny_gate gate;
    atomic_llong last_delivery_ms;
} cny_handling;

bool cny_handling_init(cny_handling *handling, cny_handling_context *context, cny_spec *spec); /* false: no memory */
void cny_handling_free(cny_handling *handling);

/* The message goes back, and no handler has had it: so its next delivery does not count as an attempt. */
void cny_note_unseen(cny_handling *handling, const coney_message *message);

/* The listener reads a stream. Before a consumer subscribes: replaces the arguments of basic.consume, if it must, by a
 * copy in the arena. CONEY_E_NO_MEMORY. The second function: the stream is gone. */
coney_status cny_handling_begin_stream(cny_handling *handling, cny_arena *arena, const coney_table **arguments);
void cny_handling_restart_stream(cny_handling *handling);

/* ---- what a consumer hands in ---- */

typedef struct cny_source {
    cny_task task; /* the first member; with several lanes: spreads messages over them */
    /* fixed after init */
    cny_handling *handling;
    void (*release)(struct cny_source *source); /* the last reference is gone */
    bool is_quarantine;                         /* it brings messages that are handled alone */
    int lane_count;
    cny_lane *lanes;
    /* any thread */
    atomic_uint refs;
    cny_intake intake;
    atomic_int in_lanes;     /* messages taken and not finished */
    atomic_size_t left_over; /* messages that its lanes gave back or dropped because the consumer ends */
    atomic_ullong received;
    atomic_llong settled_at;     /* when the broker was told last what becomes of a message; 0: never */
    atomic_ullong deferred;      /* deliveries whose handler has returned, or runs, and which are not settled; in the
                                    upper half: by which of its channels they came */
    _Atomic uint64_t replied_to; /* where the last reply in the open transaction went, by hash; 0: nowhere */
    /* the supervisor and, while the consumer consumes, the worker that runs the source */
    cny_buffer taken;
    cny_channel *channel; /* from subscribing on; changed under the container's lock while no lane runs */
} cny_source;

/* A source begins with one reference. False: no memory. When the last reference is gone, the owner's release() is
 * called, which calls cny_source_clear(). */
bool cny_source_init(cny_source *source, cny_handling *handling, int lanes);
void cny_source_clear(cny_source *source);
cny_source *cny_source_ref(cny_source *source);
void cny_source_unref(cny_source *source);

/* Messages have come: sets the lanes to work. The I/O thread, under its connection's lock. */
void cny_source_on_deliveries(cny_source *source);

/* Raises the mode of the intake, and sets lanes to work on it. */
void cny_source_raise_intake(cny_source *source, cny_intake_mode mode);

/* No lane runs, and none is to run any more. */
void cny_source_withdraw(cny_source *source);

/* No more deliveries come by the channel. The deliveries that are here are handled, or go back, before it is closed. */
void cny_source_end_feed(const cny_source *source, cny_channel *channel, cny_intake_mode mode);

bool cny_source_is_idle(cny_source *source);         /* no lane runs or has a message */
int cny_source_handling(const cny_source *source);   /* how many handlers run */
int cny_source_publishing(const cny_source *source); /* the same, and how many lanes act on outcomes: all may publish */
int cny_source_stuck(const cny_source *source, int64_t now); /* handlers that have run twice as long as is slow */

/* Tells of each handler that is slow, once. Returns when to call again; INT64_MAX: no handler runs. */
int64_t cny_source_tell_slow(cny_source *source, cny_buffer *deferred_log, int64_t now);

/* Deferred deliveries of the channel that the source has now. The second function forgets them, because the broker
 * delivers them again, and gives how many they were. */
int cny_source_deferred(const cny_source *source);
int cny_source_forget_deferred(cny_source *source);

#endif
