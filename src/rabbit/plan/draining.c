/* SPDX-License-Identifier: MIT */
/* Moves the messages of a queue to another queue, in their order: a listener sends each message, and acknowledges it
 * when the broker has confirmed the copy. Whatever goes wrong in between, the message stays in the old queue. The
 * handler and the callbacks run on Coney's threads, the rest on the caller's. It must not know why. */
#include "rabbit/plan/plan.h"

#include "amqp/amqp.h"

#include <coney/amqp/death.h>
#include <coney/amqp/headers.h>
#include <coney/rabbit/container.h>
#include <coney/rabbit/delivery.h>
#include <coney/rabbit/template.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { PREFETCH = 250 };
#define STOP_MS 5000 /* for what a handler does besides */
#define QUIET_MS 200 /* without a message before the broker is asked whether the queue is empty */

/* Reference-counted, because the callback of a send may come late: another callback of the program may hang. */
typedef struct draining {
    atomic_uint refs;
    /* fixed */
    char to[CONEY_NAME_SIZE];
    coney_template *sender; /* while the handler may run */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t in_hand; /* messages that are not settled */
    uint64_t taken;
    uint64_t moved;
    uint64_t redelivered;
    cny_error *failure; /* the first one */
} draining;

static draining *make_draining(const char *to)
{
    draining *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    atomic_init(&made->refs, 1);
    snprintf(made->to, sizeof made->to, "%s", to);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    return made;
}

static void unref(draining *one)
{
    if (atomic_fetch_sub(&one->refs, 1) != 1)
        return;
    cny_error_unref(one->failure);
    pthread_cond_destroy(&one->changed);
    pthread_mutex_destroy(&one->lock);
    cny_free(one);
}

/* ---- the copy ---- */

/* The copy goes to one queue, so a list of further addresses must not count again; and the broker counts returns anew.
 */
static bool is_left_out(const char *header)
{
    static const char *const names[] = {CONEY_HEADER_CC, CONEY_HEADER_BCC, CONEY_HEADER_DELIVERY_COUNT,
                                        CONEY_HEADER_ACQUIRED_COUNT};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(header, names[i]) == 0)
            return true;
    }
    return false;
}

static coney_status copy_message(coney_message **copy, const coney_message *message)
{
    coney_properties properties = *coney_message_properties(message);
    coney_table *headers = coney_table_new();
    coney_status status = headers ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(properties.headers); i++) {
        const char *name = coney_table_name_at(properties.headers, i);
        if (!is_left_out(name))
            status = coney_table_set(headers, name, coney_table_value_at(properties.headers, i));
    }
    properties.headers = headers;
    properties.delivery_mode = coney_message_received_delivery_mode(message);
    if (status == CONEY_OK)
        status = coney_message_new(copy, coney_message_body(message), coney_message_size(message), &properties);
    coney_table_free(headers);
    return status;
}

/* ---- one message ---- */

/* Under lock. */
static void note_failure(draining *one, const char *queue)
{
    cny_fail_in("move a message to queue '%s'", queue);
    if (!one->failure)
        one->failure = cny_error_capture();
}

static void end_one(draining *one, coney_status status)
{
    pthread_mutex_lock(&one->lock);
    one->in_hand--;
    if (status == CONEY_OK)
        one->moved++;
    else
        note_failure(one, one->to);
    pthread_cond_broadcast(&one->changed);
    pthread_mutex_unlock(&one->lock);
}

/* A delivery and whom to tell. */
typedef struct moving {
    draining *one; /* a reference */
    coney_delivery *delivery;
} moving;

static moving *make_moving(draining *one, coney_delivery *delivery)
{
    moving *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    atomic_fetch_add(&one->refs, 1);
    *made = (moving){.one = one, .delivery = coney_delivery_ref(delivery)};
    return made;
}

static void free_moving(moving *this)
{
    coney_delivery_unref(this->delivery);
    unref(this->one);
    cny_free(this);
}

static void on_confirmed(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    moving *this = user;
    coney_status status = error ? cny_fail_code(error->status, error->broker_code, "%s", error->text) : CONEY_OK;
    cny_error *failure = error ? cny_error_capture() : NULL;
    coney_status settled = coney_delivery_settle(this->delivery, status == CONEY_OK ? CONEY_ACK : CONEY_REQUEUE);
    if (failure)
        cny_error_raise(failure);
    end_one(this->one, status == CONEY_OK ? settled : status);
    cny_error_unref(failure);
    free_moving(this);
}

static bool begin_one(draining *one, const coney_message *message)
{
    pthread_mutex_lock(&one->lock);
    bool goes_on = !one->failure;
    one->in_hand += goes_on;
    one->taken += goes_on;
    one->redelivered += goes_on && coney_message_redelivered(message);
    pthread_mutex_unlock(&one->lock);
    return goes_on;
}

static coney_outcome move(coney_delivery *delivery, void *user)
{
    draining *one = user;
    coney_message *message = coney_delivery_message(delivery), *copy = NULL;
    if (!begin_one(one, message)) /* what went back would come again at once, and each return counts */
        return CONEY_STOP;
    moving *this = make_moving(one, delivery);
    coney_status status = this ? copy_message(&copy, message) : cny_fail_memory();
    if (status == CONEY_OK)
        status = coney_template_send_async(one->sender, one->to, copy, NULL, on_confirmed, this);
    coney_message_unref(copy);
    if (status == CONEY_OK)
        return CONEY_DEFER;
    end_one(one, status);
    if (this)
        free_moving(this);
    return CONEY_REQUEUE;
}

/* ---- the whole queue ---- */

/* Under lock: waits until no message has come for a moment and none is in hand. False at the deadline. */
static bool wait_until_quiet(draining *one, int64_t deadline)
{
    uint64_t taken = one->taken;
    int64_t quiet_at = cny_deadline(QUIET_MS);
    while (!one->failure && cny_now_ms() < deadline) {
        cny_cond_wait(&one->changed, &one->lock, quiet_at < deadline ? quiet_at : deadline);
        if (one->taken == taken && one->in_hand == 0 && cny_now_ms() >= quiet_at)
            return true;
        if (one->taken != taken || one->in_hand > 0)
            quiet_at = cny_deadline(QUIET_MS);
        taken = one->taken;
    }
    return false;
}

static coney_status wait_until_empty(const cny_applying *applying, draining *one, const char *queue, int64_t deadline)
{
    for (;;) {
        coney_queue_info info;
        pthread_mutex_lock(&one->lock);
        bool is_quiet = wait_until_quiet(one, deadline);
        coney_status status = one->failure ? cny_error_raise(one->failure) : CONEY_OK;
        pthread_mutex_unlock(&one->lock);
        if (status == CONEY_OK)
            status = coney_admin_queue_info(applying->admin, queue, &info);
        if (status != CONEY_OK || (is_quiet && info.message_count == 0))
            return status;
        if (cny_now_ms() >= deadline)
            return cny_fail(CONEY_E_STATE,
                            "apply: queue '%s' is not empty after %d ms; somebody may send to it by its name, through "
                            "the default exchange or as dead letters: have them send to queue '%s', and apply again",
                            queue, applying->options->drain_timeout_ms, one->to);
    }
}

/* A handler waits for a place in the window for at most the template's timeout, so the stop waits for longer: the
 * template is freed after that. */
static coney_status start(coney_container **container, const cny_applying *applying, draining *one, const char *queue)
{
    int timeout_ms = cny_admin_timeout_ms(applying->admin);
    const coney_listener listener = {
        .queue = queue, .on_message = move, .user = one, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .prefetch = PREFETCH};
    coney_status status =
        coney_template_new(&one->sender, applying->factory, &(coney_template_options){.timeout_ms = timeout_ms});
    if (status == CONEY_OK)
        status = coney_container_new(container, applying->factory,
                                     &(coney_container_options){.name = "coney-drain",
                                                                .start_timeout_ms = timeout_ms,
                                                                .shutdown_timeout_ms = timeout_ms + STOP_MS});
    if (status == CONEY_OK)
        status = coney_container_listen(*container, &listener);
    return status == CONEY_OK ? coney_container_start(*container) : status;
}

coney_status cny_drain(const cny_applying *applying, const char *queue, const char *to, int64_t deadline)
{
    draining *one = make_draining(to);
    coney_container *container = NULL;
    if (!one)
        return cny_fail_memory();
    coney_status status = start(&container, applying, one, queue);
    if (status == CONEY_OK)
        status = wait_until_empty(applying, one, queue, deadline);
    cny_error *failure = status == CONEY_OK ? NULL : cny_error_capture();
    coney_template_wait_for_confirms(one->sender, cny_admin_timeout_ms(applying->admin));
    coney_container_free(container); /* the rest goes back to the queue */
    coney_template_free(one->sender);
    pthread_mutex_lock(&one->lock);
    applying->report->moved += one->moved;
    applying->report->may_come_twice += one->redelivered + one->in_hand; /* whose outcome is still to come */
    pthread_mutex_unlock(&one->lock);
    if (failure)
        status = cny_error_raise(failure);
    cny_error_unref(failure);
    unref(one);
    return status;
}
