/* SPDX-License-Identifier: MIT */
/* Two threads send and wait for each confirm, two send asynchronously, all through one template; a
 * container listens to a classic and a quorum queue with two consumers each.
 *
 * A body is its id and letters that follow from it, so a handler can tell whether it is whole. Some
 * fill several frames, and some go back to their queue once. */
#include "chaos/traffic.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCHANGE "chaos"

enum { SYNC_PUBLISHERS = 2, ASYNC_PUBLISHERS = 2, PUBLISHERS = SYNC_PUBLISHERS + ASYNC_PUBLISHERS };
enum { TICK_MS = 10, SYNC_PER_TICK = 2, ASYNC_PER_TICK = 8 }; /* together 2,000 messages a second */
enum { ID_DIGITS = 12, MAX_BODY = 160000, LARGE_EVERY = 1000, REQUEUE_EVERY = 997 };
enum { PATIENCE_MS = 60000 };

static const char *const queue_names[QUEUES] = {[CLASSIC] = "chaos.classic", [QUORUM] = "chaos.quorum"};

static coney_connection_factory *factory;
static coney_admin *admin;
static coney_template *sender;
static coney_container *container;
static pthread_t publishers[PUBLISHERS];
static int publishers_started;
static atomic_bool publishing = true;

static bool complain(const char *what)
{
    fprintf(stderr, "chaos: %s: %s\n", what, coney_last_error());
    return false;
}

/* ---- bodies ---- */

static size_t body_size(int64_t id)
{
    size_t more = (size_t)(id * 7919 % 500);
    return ID_DIGITS + more + (id % LARGE_EVERY == 0 ? 150000 : 0);
}

static char letter(int64_t id, size_t at)
{
    return (char)('a' + ((size_t)id + at * 7) % 26);
}

static coney_message *make_message(int64_t id)
{
    char body[MAX_BODY];
    size_t size = body_size(id);
    snprintf(body, sizeof body, "%0*" PRId64, ID_DIGITS, id);
    for (size_t i = ID_DIGITS; i < size; i++)
        body[i] = letter(id, i);
    coney_message *message = NULL;
    if (coney_message_new(&message, body, size, NULL) != CONEY_OK)
        abort(); /* no memory */
    return message;
}

/* 0: it is not what make_message() made. */
static int64_t read_message(const coney_message *message)
{
    const char *body = coney_message_body(message);
    char digits[ID_DIGITS + 1] = "";
    if (coney_message_size(message) < ID_DIGITS)
        return 0;
    memcpy(digits, body, ID_DIGITS);
    int64_t id = strtoll(digits, NULL, 10);
    if (id < 1 || coney_message_size(message) != body_size(id))
        return 0;
    for (size_t i = ID_DIGITS; i < body_size(id); i++) {
        if (body[i] != letter(id, i))
            return 0;
    }
    return id;
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
    const char *key = queue_names[id % QUEUES];
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

/* ---- listening ---- */

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    int64_t id = read_message(coney_delivery_message(delivery));
    if (id == 0) {
        account_corrupt();
        return CONEY_ACK;
    }
    if (account_first_try(id) && id % REQUEUE_EVERY == 0)
        return CONEY_REQUEUE;
    account_handle(id, (int)(intptr_t)user);
    return CONEY_ACK;
}

static bool listen_to(int queue, coney_queue_kind kind, coney_topology *topology)
{
    const char *name = queue_names[queue];
    coney_topology_add_queue(topology, &(coney_queue){.name = name, .kind = kind});
    coney_topology_bind(topology, EXCHANGE, name, name);
    coney_listener listener = {
        .queue = name, .on_message = handle, .user = (void *)(intptr_t)queue, .concurrency = 2, .prefetch = 100};
    return coney_container_listen(container, &listener) == CONEY_OK;
}

static bool start_listeners(void)
{
    coney_container_options options = {.name = "chaos", .recovery_interval_ms = 500};
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = EXCHANGE});
    bool done = coney_container_new(&container, factory, &options) == CONEY_OK &&
                listen_to(CLASSIC, CONEY_CLASSIC, topology) && listen_to(QUORUM, CONEY_QUORUM, topology) &&
                coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology}) == CONEY_OK &&
                coney_admin_declare(admin) == CONEY_OK && coney_container_start(container) == CONEY_OK;
    coney_topology_free(topology);
    return done || complain("listening");
}

/* ---- all of it ---- */

bool traffic_start(const char *uri)
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
    return start_listeners() && start_publishers();
}

static void stop_publishers(void)
{
    atomic_store(&publishing, false);
    while (publishers_started > 0)
        pthread_join(publishers[--publishers_started], NULL);
}

static int64_t all_handler_calls(void)
{
    return account_handler_calls(CLASSIC) + account_handler_calls(QUORUM);
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
    bool done = coney_template_wait_for_confirms(sender, PATIENCE_MS) == CONEY_OK || complain("confirms");
    wait_for_handlers();
    return done;
}

void traffic_free(void)
{
    stop_publishers();
    coney_container_free(container);
    coney_template_free(sender);
    coney_admin_free(admin);
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
    coney_status status = coney_container_check(container);
    fprintf(stderr, "  container: %s%s%s\n", coney_status_name(status), status ? ": " : "",
            status ? coney_last_error() : "");
    for (int i = 0; i < QUEUES; i++) {
        coney_queue_info info = {0};
        if (coney_admin_queue_info(admin, queue_names[i], &info) == CONEY_OK)
            fprintf(stderr, "  %s: %u ready, %u consumers\n", info.name, info.message_count, info.consumer_count);
        else
            fprintf(stderr, "  %s: %s\n", queue_names[i], coney_last_error());
    }
}
