/* SPDX-License-Identifier: MIT */
/* Events on their way to the program's callback. Any thread tells them, under its locks; the events thread of the
 * factory calls the program. A callback that is slow costs events, never memory without bound. */
#include "rabbit/factory/factory.h"
#include "rabbit/listener/report/report.h"

#include <string.h>

#define MAX_WAITING 1000

/* Nothing new is told while it closes, nothing at all when it is closed. */
enum { OPEN, CLOSING, CLOSED };

struct cny_event_sink {
    /* fixed after new */
    coney_connection_factory *factory; /* not a reference: who tells something has one */
    char *name;                        /* of the container */
    coney_container_event_callback *on_event;
    void *event_user;
    /* any thread */
    atomic_uint refs;
    atomic_int state;
    atomic_int waiting; /* events that are not told yet */
    atomic_int dropped; /* since that was logged */
    /* to wait until the last one is told */
    pthread_mutex_t lock; /* below all others */
    pthread_cond_t told;
};

cny_event_sink *cny_event_sink_new(coney_connection_factory *factory, const coney_container_options *options)
{
    cny_event_sink *made = cny_alloc(sizeof *made);
    char *name = cny_strdup(options->name);
    if (!made || !name) {
        cny_free(made);
        cny_free(name);
        return NULL;
    }
    atomic_init(&made->refs, 1);
    made->factory = factory;
    made->name = name;
    made->on_event = options->on_event;
    made->event_user = options->event_user;
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->told);
    return made;
}

void cny_event_sink_unref(cny_event_sink *sink)
{
    if (!sink || atomic_fetch_sub_explicit(&sink->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_cond_destroy(&sink->told);
    pthread_mutex_destroy(&sink->lock);
    cny_free(sink->name);
    cny_free(sink);
}

/* ---- the notice of an event ---- */

typedef struct notice {
    cny_event_sink *sink; /* a reference */
    coney_container_event event;
    cny_arena arena; /* holds its texts */
} notice;

static notice *new_notice(cny_event_sink *sink)
{
    notice *one = cny_alloc(sizeof *one);
    if (!one)
        return NULL;
    one->sink = sink;
    atomic_fetch_add_explicit(&sink->refs, 1, memory_order_relaxed);
    atomic_fetch_add(&sink->waiting, 1);
    return one;
}

static void free_notice(notice *one)
{
    cny_event_sink *sink = one->sink;
    cny_arena_free(&one->arena);
    cny_free(one);
    pthread_mutex_lock(&sink->lock);
    if (atomic_fetch_sub(&sink->waiting, 1) == 1)
        pthread_cond_broadcast(&sink->told);
    pthread_mutex_unlock(&sink->lock);
    cny_event_sink_unref(sink);
}

static bool fill_notice(notice *one, const cny_event *event)
{
    const coney_listener *listener = event->listener;
    const coney_error *error = cny_error_view(event->error);
    const char *text = event->text ? event->text : error ? error->text : "";
    const char *id = event->message ? event->message->properties.message_id : NULL;
    one->event = (coney_container_event){
        .kind = event->kind,
        .container = one->sink->name,
        .status = error ? error->status : CONEY_OK,
        .broker_code = error ? error->broker_code : 0,
        .fatal = event->fatal,
        .duration_ms = event->duration_ms,
    };
    char *safe = cny_arena_copy(&one->arena, text, strlen(text)); /* it may quote the message */
    if (!safe)
        return false;
    cny_text_make_safe(safe);
    one->event.text = safe;
    return cny_arena_strdup(&one->arena, &one->event.listener_id, listener ? listener->id : "") &&
           cny_arena_strdup(&one->arena, &one->event.queue, listener ? listener->queue : "") &&
           cny_arena_strdup(&one->arena, &one->event.consumer_tag, event->consumer_tag ? event->consumer_tag : "") &&
           cny_arena_strdup(&one->arena, &one->event.message_id, id ? id : "");
}

/* ---- telling ---- */

const char *coney_container_event_name(coney_container_event_kind kind)
{
    switch (kind) {
    case CONEY_CONTAINER_STARTED: return "CONTAINER_STARTED";
    case CONEY_CONTAINER_STOPPED: return "CONTAINER_STOPPED";
    case CONEY_CONSUMER_STARTED: return "CONSUMER_STARTED";
    case CONEY_CONSUMER_FAILED: return "CONSUMER_FAILED";
    case CONEY_CONSUMER_RESTARTED: return "CONSUMER_RESTARTED";
    case CONEY_CONSUMER_STOPPED: return "CONSUMER_STOPPED";
    case CONEY_QUEUE_MISSING: return "QUEUE_MISSING";
    case CONEY_LISTENER_IDLE: return "LISTENER_IDLE";
    case CONEY_HANDLER_SLOW: return "HANDLER_SLOW";
    case CONEY_MESSAGE_EXHAUSTED: return "MESSAGE_EXHAUSTED";
    case CONEY_MESSAGE_REJECTED: return "MESSAGE_REJECTED";
    case CONEY_MESSAGE_DISCARDED: return "MESSAGE_DISCARDED";
    case CONEY_PUBLISHERS_BLOCKED: return "PUBLISHERS_BLOCKED";
    case CONEY_PUBLISHERS_UNBLOCKED: return "PUBLISHERS_UNBLOCKED";
    case CONEY_DECLARATION_NOT_MADE: return "DECLARATION_NOT_MADE";
    }
    return "unknown";
}

static void run_notice(coney_message *unused, const coney_error *none, void *user)
{
    (void)unused;
    (void)none;
    notice *one = user;
    cny_event_sink *sink = one->sink;
    int dropped = atomic_exchange(&sink->dropped, 0);
    if (dropped > 0)
        cny_log(CONEY_LOG_WARN, "container '%s': on_event is too slow, %d events were dropped", sink->name, dropped);
    if (atomic_load(&sink->state) < CLOSED)
        sink->on_event(&one->event, sink->event_user);
    free_notice(one);
}

void cny_tell(cny_event_sink *sink, const cny_event *event)
{
    bool is_of_many = event->listener != NULL; /* of the container itself there are few, and it stops only once */
    if (!sink->on_event || atomic_load(&sink->state) != OPEN)
        return;
    if (is_of_many && atomic_load(&sink->waiting) >= MAX_WAITING) {
        atomic_fetch_add(&sink->dropped, 1);
        return;
    }
    notice *one = new_notice(sink);
    if (one && (!fill_notice(one, event) || !cny_factory_post(sink->factory, run_notice, NULL, one)))
        free_notice(one);
}

static bool wait_told(cny_event_sink *sink, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&sink->lock);
    while (atomic_load(&sink->waiting) > 0 && in_time)
        in_time = cny_cond_wait(&sink->told, &sink->lock, deadline);
    bool told = atomic_load(&sink->waiting) == 0;
    pthread_mutex_unlock(&sink->lock);
    return told;
}

bool cny_event_sink_close(cny_event_sink *sink, int64_t deadline)
{
    bool told = true;
    for (int state = CLOSING; state <= CLOSED; state++) {
        atomic_store(&sink->state, state);
        told = wait_told(sink, deadline);
    }
    return told;
}
