/* SPDX-License-Identifier: MIT */
/* What people and programs are told of a listener: counters, log lines that are limited in number, log lines that wait
 * until no lock is held, and events. Knows messages and the options of a listener, but neither consumers nor
 * containers. Any thread. */
#ifndef CNY_LISTENER_REPORT_H
#define CNY_LISTENER_REPORT_H

#include "amqp/amqp.h"

#include <coney/rabbit/container.h>

/* ---- counters ---- */

/* What coney_listener_statistics shows. Any thread counts. */
typedef struct cny_counters {
    atomic_ullong received, acknowledged, rejected, requeued, retried, republished, exhausted, passed_over, discarded,
        filtered, expired, failed, fatal, stale, in_progress, handled, handler_us;
    atomic_ullong handler_times[CONEY_HANDLER_TIME_BUCKETS];
} cny_counters;

/* Counts one more. A thread that sees the count sees what the counting thread counted before. */
static inline void cny_count(atomic_ullong *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_release);
}

void cny_count_handler(cny_counters *counters, uint64_t us); /* a handler has run that long */
void cny_counters_read(coney_listener_statistics *to, const cny_counters *from);

/* ---- the deferred log ---- */

/* The log sink is the program's code, which no lock of Coney's may be held for. So a line that is written under a lock
 * is put into a buffer, and logged when the lock is released. Whoever has the buffer has a lock for it. */
void cny_defer_log(cny_buffer *lines, coney_log_level level, const char *format, ...) CNY_PRINTF(3, 4);
void cny_write_deferred_log(cny_buffer *lines); /* and empties the buffer; not under a lock */

/* ---- the rate-limited log ---- */

/* What a log line is about. Each topic is limited for itself. */
typedef enum cny_log_topic {
    CNY_LOG_FATAL,
    CNY_LOG_OUTCOME,
    CNY_LOG_FAILURE,
    CNY_LOG_EXHAUSTED,
    CNY_LOG_REPUBLISHING,
    CNY_LOG_REPLY,
    CNY_LOG_MEMORY,
    CNY_LOG_QUARANTINE,
    CNY_LOG_DELIVERY_LIMIT,
    CNY_LOG_FORGED,
    CNY_LOG_PAYLOAD,
    CNY_LOG_EXPIRED,
    CNY_LOG_TOPIC_COUNT,
} cny_log_topic;

/* Between two lines of a topic there is a pause, so that what goes wrong with each message does not fill a disk. */
typedef struct cny_throttle {
    int64_t until;                   /* the end of the pause */
    struct cny_held_back *held_back; /* the latest line of the pause; NULL: none */
    cny_buffer mentions;             /* the messages that earlier lines of the pause were about */
    unsigned long long more_messages, more_lines;
} cny_throttle;

typedef struct cny_limited_log {
    /* fixed before the first line */
    void (*wake)(void *self); /* the thread that calls cny_limited_log_write(); under no lock; NULL: there is none */
    void *self;
    /* under lock */
    pthread_mutex_t lock; /* below all others */
    cny_throttle throttles[CNY_LOG_TOPIC_COUNT];
} cny_limited_log;

bool cny_limited_log_init(cny_limited_log *log);
void cny_limited_log_free(cny_limited_log *log);

/* Logs what is wrong with a message (NULL: with none in particular), at once or at the end of a pause. Not under a
 * lock. */
void cny_log_limited(cny_limited_log *log, cny_log_topic topic, coney_log_level level, const coney_message *about,
                     const char *format, ...) CNY_PRINTF(5, 6);

/* Puts the lines whose pause is over, or all that are held back, into the deferred log. Returns when to call again;
 * INT64_MAX: when the log wakes its thread. */
int64_t cny_limited_log_write(cny_limited_log *log, cny_buffer *deferred, int64_t now, bool all);

/* ---- events ---- */

/* What an event says beside its container's name. */
typedef struct cny_event {
    coney_container_event_kind kind;
    const coney_listener *listener; /* NULL: it is about the container */
    const char *consumer_tag;       /* NULL is "" */
    const coney_message *message;   /* that it is about; NULL: none */
    const cny_error *error;         /* NULL: nothing failed */
    bool fatal;
    int64_t duration_ms;
    const char *text; /* NULL: the error's */
} cny_event;

/* Where the events of a container go: to the program's callback, on the events thread of the factory. Events that have
 * not been told yet keep the sink alive, but not its container. */
typedef struct cny_event_sink cny_event_sink;

/* Borrows the factory; copies name, on_event and event_user. NULL without memory. */
cny_event_sink *cny_event_sink_new(coney_connection_factory *factory, const coney_container_options *options);
void cny_event_sink_unref(cny_event_sink *sink); /* takes NULL */

/* Queues an event for the program's callback, if there is one. Under any lock but that of the events thread. */
void cny_tell(cny_event_sink *sink, const cny_event *event);

/* The container goes: nothing new is told from now on, and from the deadline on nothing at all. False: the callback was
 * still running then. */
bool cny_event_sink_close(cny_event_sink *sink, int64_t deadline);

#endif
