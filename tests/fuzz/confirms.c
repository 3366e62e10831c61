/* SPDX-License-Identifier: MIT */
/* The input is what happens to a channel with confirms: messages are sent, and the broker confirms, refuses and returns
 * what it likes, in any order, until the channel ends. Each sender learns the outcome of its message once, at the time
 * at which a simple model says so. */
#include "support/fuzz.h"

#include "rabbit/connection/confirms/confirms.h"
#include "rabbit/events/events.h"
#include "wire/wire.h"

#include <string.h>

enum { WINDOW = 8, TIMEOUT_MS = 50, MOST_SENT = 512, FRAME_MAX = 4096 };

static const char *const keys[] = {"orders", "bills",
                                   "a-routing-key-that-is-so-long-that-it-does-not-fit-the-room-in-a-confirm"};
enum { KEYS = sizeof keys / sizeof *keys };

/* What the model knows of a message. */
typedef struct sent {
    cny_waiter *waiter;
    int64_t at_ms;
    bool synchronous;
    bool told;
} sent;

typedef struct play {
    cny_confirms confirms;
    pthread_cond_t changed;
    int64_t now_ms;
    sent all[MOST_SENT]; /* by sequence number, which begins with 1 */
    size_t count;
    size_t untold;
} play;

static void ignore(void *self)
{
    (void)self;
}

static void ignore_finished(void *self, size_t callbacks)
{
    (void)self;
    (void)callbacks;
}

static void ignore_log(void *self, const char *sentence)
{
    (void)self;
    (void)sentence;
}

static const cny_confirms_owner owner = {
    .ref = ignore, .finished = ignore_finished, .has_news = ignore, .log_later = ignore_log};

/* Nobody has a callback, so the thread of the events sleeps. */
static cny_events *idle_events(void)
{
    static cny_threads threads;
    static cny_events *events;
    sigset_t signals;
    sigemptyset(&signals);
    if (!events) {
        cny_threads_init(&threads);
        fuzz_require(cny_events_start(&events, &threads, &threads, &signals) == CONEY_OK);
    }
    return events;
}

/* ---- what is sent ---- */

static coney_message *make_message(uint8_t choice)
{
    coney_message *message;
    const uint8_t body[] = {choice & 3, 'x'};
    const coney_properties properties = {.message_id = choice & 4 ? "id" : NULL};
    return fuzz_succeeds(coney_message_new(&message, body, 1 + (choice >> 3 & 1), &properties)) ? message : NULL;
}

static void publish_one(play *in, uint8_t choice)
{
    if (in->count == MOST_SENT || cny_confirms_full(&in->confirms))
        return;
    sent *one = &in->all[in->count];
    cny_publish publish = {.exchange = "",
                           .routing_key = keys[choice % KEYS],
                           .message = make_message(choice),
                           .mandatory = choice & 16,
                           .synchronous = choice & 32,
                           .waiter = cny_waiter_new(),
                           .sent_us = in->now_ms * 1000};
    char *route = cny_route_is_short(&publish) ? NULL : cny_alloc(strlen(publish.routing_key) + 2);
    bool has_route = route || cny_route_is_short(&publish);
    if (publish.message && publish.waiter && has_route && fuzz_succeeds(cny_confirms_reserve(&in->confirms))) {
        cny_confirm *added = cny_confirms_add(&in->confirms, &publish);
        if (route)
            memcpy(route + 1, publish.routing_key, strlen(publish.routing_key) + 1);
        added->route = route;
        *one =
            (sent){.waiter = cny_waiter_ref(publish.waiter), .at_ms = in->now_ms, .synchronous = publish.synchronous};
        in->count++;
        in->untold++;
        route = NULL;
    }
    cny_free(route);
    cny_waiter_unref(publish.waiter);
    coney_message_unref(publish.message);
}

/* ---- what the broker says ---- */

static void tell(play *in, sent *one)
{
    in->untold -= !one->told;
    one->told = true;
}

static void confirm(play *in, uint32_t method, uint64_t tag, bool multiple)
{
    cny_waiter *told = NULL;
    const cny_incoming incoming = {.method = method, .tag = tag, .multiple = multiple};
    cny_confirms_on_confirm(&in->confirms, &incoming, in->now_ms * 1000, &told);
    cny_waiters_wake(&told);
    uint64_t last = multiple && tag == 0 ? in->count : tag;
    for (uint64_t sequence = multiple ? 1 : last; last <= in->count && sequence > 0 && sequence <= last; sequence++)
        tell(in, &in->all[sequence - 1]);
}

/* The outcome comes with the confirm. */
static void bring_back(play *in, uint8_t choice)
{
    cny_incoming incoming = {
        .method = CNY_BASIC_RETURN, .code = 312, .text = "NO_ROUTE", .message = make_message(choice)};
    if (!incoming.message)
        return;
    incoming.message->routing_key = keys[choice % KEYS];
    cny_confirms_on_return(&in->confirms, &incoming, FRAME_MAX);
    coney_message_unref(incoming.message);
}

static void expire(play *in)
{
    cny_confirms_expire(&in->confirms, in->now_ms);
    for (size_t i = 0; i < in->count; i++) {
        if (!in->all[i].synchronous && in->all[i].at_ms + TIMEOUT_MS <= in->now_ms)
            tell(in, &in->all[i]);
    }
}

static void play_one(play *in, const uint8_t **data, size_t *size)
{
    uint8_t event = fuzz_take(data, size), choice = fuzz_take(data, size);
    uint32_t method = event & 8 ? CNY_BASIC_NACK : CNY_BASIC_ACK;
    switch (event & 7) {
    case 0: confirm(in, method, choice, false); break;
    case 1: confirm(in, method, choice, true); break;
    case 2: confirm(in, method, in->count - choice, event & 16); break;
    case 3: confirm(in, method, (uint64_t)choice << 56 | event, event & 16); break;
    case 4: bring_back(in, choice); break;
    case 5:
        in->now_ms += choice;
        expire(in);
        break;
    default: publish_one(in, choice);
    }
}

/* ---- the end ---- */

static void end(play *in, uint8_t choice)
{
    cny_error *reason = choice & 1
                            ? cny_error_new(CONEY_E_NOT_FOUND, 404, "404 NOT_FOUND - no exchange '' in vhost '/'")
                            : cny_error_new(CONEY_E_LOST, 0, "the connection is gone");
    cny_confirms_fail(&in->confirms, reason);
    size_t i = 0;
    for (cny_confirm *left; (left = cny_confirms_next_to_resend(&in->confirms, &i)); i = 0)
        cny_confirms_give_up(&in->confirms, left, reason);
    cny_error_unref(reason);
    fuzz_require(in->confirms.unfinished == 0 && in->confirms.statistics.unconfirmed == 0);
    for (size_t n = 0; n < cny_confirms_outstanding(&in->confirms); n++)
        fuzz_require(cny_confirms_nth(&in->confirms, n)->done);
    for (size_t at = 0; at < in->count; at++) {
        fuzz_require(!cny_waiter_give_up(in->all[at].waiter)); /* it was told */
        cny_waiter_unref(in->all[at].waiter);
    }
}

void fuzz_target(const uint8_t *data, size_t size)
{
    static play in; /* large */
    memset(&in, 0, sizeof in);
    uint8_t choice = fuzz_take(&data, &size);
    const cny_confirm_options options = {.max_unconfirmed = WINDOW, .timeout_ms = TIMEOUT_MS, .resends = choice & 2};
    in.now_ms = 1000;
    in.confirms = (cny_confirms){.owner = &owner, .events = idle_events(), .changed = &in.changed, .tallied = true};
    pthread_cond_init(&in.changed, NULL);
    if (fuzz_succeeds(cny_confirms_start(&in.confirms, &options))) {
        while (size > 0) {
            play_one(&in, &data, &size);
            fuzz_require(fuzz_memory_is_short() || in.confirms.statistics.unconfirmed == in.untold);
        }
        end(&in, choice);
        cny_confirms_free(&in.confirms);
    }
    pthread_cond_destroy(&in.changed);
}
