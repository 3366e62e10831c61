/* SPDX-License-Identifier: MIT */
/* Two threads send and wait for each confirm, two send asynchronously, all through one template and to three queues in
 * turn. */
#include "chaos/traffic.h"

#include "chaos/bodies.h"
#include "chaos/listening.h"
#include "chaos/requests.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { SYNC_PUBLISHERS = 2, ASYNC_PUBLISHERS = 2, PUBLISHERS = SYNC_PUBLISHERS + ASYNC_PUBLISHERS };
enum { TICK_MS = 10, SYNC_PER_TICK = 2, ASYNC_PER_TICK = 8 }; /* together 2,000 messages a second */
enum { PATIENCE_MS = 60000, EMPTY_MS = 30000 };

static coney_connection_factory *factory;
static coney_template *sender;
static pthread_t publishers[PUBLISHERS];
static int publishers_started;
static atomic_bool publishing = true;

static bool complain(const char *what)
{
    fprintf(stderr, "chaos: %s: %s\n", what, coney_last_error());
    return false;
}

/* ---- publishing ---- */

static void complete(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    account_complete((intptr_t)user, error ? error->status : CONEY_OK);
}

static void send_async(int64_t id, const char *key, coney_message *message)
{
    coney_status status = coney_template_send_async(sender, key, message, NULL, complete, (void *)(intptr_t)id);
    if (status != CONEY_OK)
        account_refuse(id, status);
}

static void send_and_wait(int64_t id, const char *key, coney_message *message)
{
    coney_status status = coney_template_send(sender, key, message, NULL);
    if (status == CONEY_E_CONNECT || status == CONEY_E_BLOCKED)
        account_refuse(id, status);
    else
        account_complete(id, status);
}

static void publish(bool wait)
{
    int64_t id = account_publish();
    if (id == 0)
        return;
    coney_message *message = make_message(id);
    const char *key = queue_name((int)(id % PUBLISHED));
    if (wait)
        send_and_wait(id, key, message);
    else
        send_async(id, key, message);
    coney_message_unref(message);
}

static void *run_publisher(void *user)
{
    bool wait = (intptr_t)user < SYNC_PUBLISHERS;
    int64_t next_ms = cny_now_ms();
    while (atomic_load(&publishing)) {
        for (int i = 0; i < (wait ? SYNC_PER_TICK : ASYNC_PER_TICK); i++)
            publish(wait);
        next_ms += TICK_MS;
        if (next_ms < cny_now_ms())
            next_ms = cny_now_ms(); /* what was not sent during a fault is not made up for */
        sleep_ms((int)(next_ms - cny_now_ms()));
    }
    return NULL;
}

static bool start_publishers(void)
{
    for (intptr_t i = 0; i < PUBLISHERS; i++) {
        if (pthread_create(&publishers[i], NULL, run_publisher, (void *)i) != 0)
            return complain("publisher thread");
        publishers_started++;
    }
    return true;
}

/* ---- all of it ---- */

bool traffic_start(const char *uri, uint64_t seed, int64_t minutes)
{
    coney_connection_factory_options options = {
        .connection_name = "chaos",
        .connection_timeout_ms = 3000,
        .heartbeat_s = 2,
        .recovery = {.first_delay_ms = 100, .max_delay_ms = 1000, .retry_refused_login = true}, /* a password changes */
    };
    if (coney_connection_factory_new(&factory, uri, &options) != CONEY_OK ||
        coney_template_new(&sender, factory,
                           &(coney_template_options){.exchange = EXCHANGE, .resend_unconfirmed = true}) != CONEY_OK)
        return complain("set-up");
    return listening_start(factory, seed) && requests_start(factory, minutes) && start_publishers();
}

static void stop_publishers(void)
{
    atomic_store(&publishing, false);
    while (publishers_started > 0)
        pthread_join(publishers[--publishers_started], NULL);
}

static int64_t all_handler_calls(void)
{
    int64_t calls = 0;
    for (int i = 0; i < QUEUES; i++)
        calls += account_handler_calls(i);
    return calls;
}

/* What never comes is the account's business, so silence ends the waiting, too. */
static void wait_for_handlers(void)
{
    int64_t calls = all_handler_calls();
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (account_waiting() > 0 && cny_now_ms() < deadline) {
        sleep_ms(20);
        if (calls != all_handler_calls())
            deadline = cny_now_ms() + PATIENCE_MS;
        calls = all_handler_calls();
    }
}

bool traffic_finish(void)
{
    stop_publishers();
    bool answered = requests_finish();
    bool done = coney_template_wait_for_confirms(sender, PATIENCE_MS) == CONEY_OK || complain("confirms");
    listening_calm_down();
    wait_for_handlers();
    return listening_wait_until_empty(EMPTY_MS) && done && answered;
}

void traffic_free(void)
{
    stop_publishers();
    requests_free();
    listening_free();
    coney_template_free(sender);
    coney_connection_factory_free(factory);
}

uint64_t traffic_times_opened(coney_connection_role role)
{
    coney_connection_info info = {0};
    coney_connection_factory_info(factory, role, &info);
    return info.times_opened;
}

static void print_connection(const char *name, coney_connection_role role)
{
    coney_connection_info info = {0};
    coney_connection_factory_info(factory, role, &info);
    fprintf(stderr, "  %s connection: %s\n", name, info.text);
}

void traffic_print_state(void)
{
    print_connection("consuming", CONEY_CONSUMING);
    print_connection("publishing", CONEY_PUBLISHING);
    listening_print_state();
}
