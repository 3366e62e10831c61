/* SPDX-License-Identifier: MIT */
/* See listening.h. */
#include "support/listening.h"
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_OTHERS = 12, MAX_EVENTS = 100 };

listening_fixture listening;

static char others[MAX_OTHERS][256];
static int other_count;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the calls and events */
static struct {
    coney_container_event_kind kind;
    char message_id[64];
    char text[512];
} events[MAX_EVENTS];
static int event_count;

/* ---- queues ---- */

int listening_setup(void **state)
{
    (void)state;
    static int number;
    char what[32];
    snprintf(what, sizeof what, "listening.%d", ++number);
    memset(&listening, 0, sizeof listening);
    event_count = 0;
    if (!getenv("CONEY_TEST_LOG")) /* most of these tests would make Coney complain */
        test_log_start(CONEY_LOG_WARN);
    snprintf(listening.queue, sizeof listening.queue, "%s", test_name(what));
    snprintf(listening.dead, sizeof listening.dead, "%s", listening_make_other_queue("dead"));
    listening_use_queue(&(coney_queue){0});
    return 0;
}

int listening_teardown(void **state)
{
    listening_stop();
    for (int i = 0; i < other_count; i++)
        test_delete_queue(others[i]);
    other_count = 0;
    test_delete_queue(listening.queue);
    test_log_stop();
    return test_no_failed_checks(state);
}

void listening_use_queue(const coney_queue *queue)
{
    coney_queue made = *queue;
    made.name = listening.queue;
    made.dead_letter_exchange = "";
    made.dead_letter_routing_key = listening.dead;
    test_delete_queue(listening.queue);
    assert_ok(coney_admin_declare_queue(client.admin, &made, NULL));
}

void listening_delete_later(const char *queue)
{
    assert_true(other_count < MAX_OTHERS);
    snprintf(others[other_count++], sizeof others[0], "%s", queue);
}

void listening_send_dead_letters_back(void)
{
    test_delete_queue(listening.dead);
    assert_ok(coney_admin_declare_queue(client.admin,
                                        &(coney_queue){.name = listening.dead,
                                                       .message_ttl_ms = 20,
                                                       .dead_letter_exchange = "",
                                                       .dead_letter_routing_key = listening.queue},
                                        NULL));
}

const char *listening_other_queue(const char *suffix)
{
    char name[256];
    snprintf(name, sizeof name, "%.200s.%s", listening.queue, suffix);
    listening_delete_later(name);
    return others[other_count - 1];
}

const char *listening_make_other_queue(const char *suffix)
{
    const char *name = listening_other_queue(suffix);
    test_make_queue(name);
    return name;
}

/* ---- the container ---- */

static void note_event(const coney_container_event *event, void *user)
{
    (void)user;
    pthread_mutex_lock(&lock);
    if (event_count < MAX_EVENTS) {
        events[event_count].kind = event->kind;
        snprintf(events[event_count].message_id, sizeof events[0].message_id, "%s", event->message_id);
        snprintf(events[event_count++].text, sizeof events[0].text, "%s", event->text);
    }
    pthread_mutex_unlock(&lock);
}

void listening_start(const coney_listener *listener)
{
    coney_listener made = *listener;
    const coney_container_options options = {
        .name = "tests", .workers = test_workers, .start_timeout_ms = TEST_PATIENCE_MS, .on_event = note_event};
    made.queue = listening.queue;
    made.id = "listener";
    if (!made.on_message && !made.on_batch && made.handler_count == 0)
        made.on_message = listening_obey;
    assert_ok(coney_container_new(&listening.container, client.factory, &options));
    assert_ok(coney_container_listen(listening.container, &made));
    assert_ok(coney_container_start(listening.container));
}

void listening_stop(void)
{
    coney_container_free(listening.container);
    listening.container = NULL;
}

void listening_expect_nothing_left(void)
{
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

coney_listener_statistics listening_statistics(void)
{
    coney_listener_statistics statistics;
    assert_ok(coney_container_statistics(listening.container, "listener", &statistics));
    return statistics;
}

void listening_send_to(const char *exchange, const char *routing_key, const char *text,
                       const coney_properties *properties)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, text, strlen(text), properties));
    coney_status status =
        coney_template_send(client.sender, routing_key, message, &(coney_send_options){.exchange = exchange});
    coney_message_unref(message);
    assert_ok(status);
}

void listening_send_with(const char *text, const coney_properties *properties)
{
    listening_send_to("", listening.queue, text, properties);
}

void listening_send(const char *text)
{
    listening_send_with(text, NULL);
}

/* ---- the handler ---- */

const char *listening_text(const coney_delivery *delivery, char text[64])
{
    const coney_message *message = coney_delivery_message(delivery);
    snprintf(text, 64, "%.*s", (int)coney_message_size(message), (const char *)coney_message_body(message));
    return text;
}

int listening_note(const coney_delivery *delivery)
{
    pthread_mutex_lock(&lock);
    int index = listening.count;
    check(index < LISTENING_MAX_CALLS);
    if (index < LISTENING_MAX_CALLS) {
        listening_call *call = &listening.calls[index];
        listening_text(delivery, call->text);
        call->attempt = coney_delivery_attempt(delivery);
        call->redelivered = coney_message_redelivered(coney_delivery_message(delivery));
        call->at_ms = cny_now_ms();
        listening.count = index + 1;
    }
    pthread_mutex_unlock(&lock);
    return index;
}

int listening_calls_of(const char *text)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < listening.count; i++)
        count += strncmp(listening.calls[i].text, text, strlen(text)) == 0;
    pthread_mutex_unlock(&lock);
    return count;
}

coney_outcome listening_obey(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[64];
    listening_text(delivery, text);
    int earlier = listening_calls_of(text);
    listening_note(delivery);
    if (strncmp(text, "reject", 6) == 0)
        return CONEY_REJECT;
    if (strncmp(text, "requeue", 7) == 0)
        return CONEY_REQUEUE;
    if (strncmp(text, "again", 5) == 0)
        return earlier == 0 ? CONEY_REQUEUE : CONEY_ACK;
    if (strncmp(text, "fail", 4) != 0)
        return CONEY_ACK;
    long times = strtol(text + 4, NULL, 10);
    bool fails = times == 0 || earlier < times;
    return fails ? coney_delivery_fail(delivery, CONEY_RETRY, "no stock for %s", text) : CONEY_ACK;
}

void listening_wait_for_calls(int count)
{
    test_wait_until(listening.count >= count);
}

void listening_expect_attempts(const int *attempts)
{
    int count = 0;
    while (attempts[count] != 0)
        count++;
    listening_wait_for_calls(count);
    for (int i = 0; i < count; i++)
        assert_int_equal(listening.calls[i].attempt, attempts[i]);
}

/* ---- events ---- */

static bool has_event(coney_container_event_kind kind, const char *message_id, const char *words)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < event_count; i++)
        found = found || (events[i].kind == kind && strstr(events[i].text, words) &&
                          (!message_id || strcmp(events[i].message_id, message_id) == 0));
    pthread_mutex_unlock(&lock);
    return found;
}

void listening_wait_for_event_about(coney_container_event_kind kind, const char *message_id, const char *words)
{
    for (int64_t until = cny_now_ms() + TEST_PATIENCE_MS; !has_event(kind, message_id, words); usleep(1000)) {
        if (cny_now_ms() > until)
            fail_msg("no event %s with '%s'", coney_container_event_name(kind), words);
    }
}

void listening_wait_for_event(coney_container_event_kind kind, const char *words)
{
    listening_wait_for_event_about(kind, NULL, words);
}

int listening_events(coney_container_event_kind kind)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < event_count; i++)
        count += events[i].kind == kind;
    pthread_mutex_unlock(&lock);
    return count;
}
