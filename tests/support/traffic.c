/* SPDX-License-Identifier: MIT */
/* Numbers are counted where they are sent, confirmed and handled: on three threads, so all counts
 * are atomic. */
#include "support/traffic.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MAX_MESSAGES = 200000, PATIENCE_MS = 10000 };

cny_traffic_client traffic;

static struct {
    /* fixed while it runs */
    cny_traffic_options options;
    pthread_t publisher;
    bool publishing;

    atomic_bool stop;
    atomic_bool paused;
    atomic_bool idle;    /* the publisher has seen that it is paused */
    atomic_int accepted; /* numbers below it were sent */
    atomic_int refused;
    atomic_int confirmed;
    atomic_int failed; /* accepted, and completed otherwise than confirmed */
    atomic_int handled;
    atomic_int duplicates;
    _Atomic int64_t last_ms; /* a message was handled */
    _Atomic int64_t longest_gap_ms;
    atomic_uchar was_confirmed[MAX_MESSAGES];
    atomic_uchar was_handled[MAX_MESSAGES];

    /* under lock */
    pthread_mutex_t lock;
    char failure[256];
} run = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- the three threads --- */

static void note_gap(void)
{
    int64_t now = cny_now_ms(), last = atomic_exchange(&run.last_ms, now);
    if (now - last > atomic_load(&run.longest_gap_ms))
        atomic_store(&run.longest_gap_ms, now - last);
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)user;
    const char *text = coney_message_body(coney_delivery_message(delivery));
    long number = strtol(text, NULL, 10);
    if (number < 0 || number >= MAX_MESSAGES)
        return CONEY_ACK; /* a test's own */
    note_gap();
    if (atomic_exchange(&run.was_handled[number], 1))
        atomic_fetch_add(&run.duplicates, 1);
    else
        atomic_fetch_add(&run.handled, 1);
    return CONEY_ACK;
}

static void note_failure(const char *what, const char *text)
{
    pthread_mutex_lock(&run.lock);
    if (!run.failure[0])
        snprintf(run.failure, sizeof run.failure, "%s: %s", what, text);
    pthread_mutex_unlock(&run.lock);
}

static void completed(coney_message *message, const coney_error *error, void *user)
{
    (void)user;
    long number = strtol(coney_message_body(message), NULL, 10);
    if (error) {
        note_failure(coney_status_name(error->status), error->text);
        atomic_fetch_add(&run.failed, 1);
    } else if (!atomic_exchange(&run.was_confirmed[number], 1)) {
        atomic_fetch_add(&run.confirmed, 1);
    } else {
        note_failure("completed twice", coney_message_body(message));
        atomic_fetch_add(&run.failed, 1);
    }
}

static void send_one(int number)
{
    char text[4096];
    coney_message *message;
    size_t size = (size_t)run.options.message_bytes;
    memset(text, ' ', sizeof text);
    snprintf(text, sizeof text, "%d%*s", number, run.options.message_bytes, "");
    if (coney_message_new(&message, text, size, NULL) != CONEY_OK)
        abort();
    if (coney_template_send_async(traffic.sender, run.options.queue, message, NULL, completed, NULL) == CONEY_OK) {
        atomic_fetch_add(&run.accepted, 1);
    } else {
        note_failure("refused", coney_last_error());
        atomic_fetch_add(&run.refused, 1);
    }
    coney_message_unref(message);
}

static void *publish(void *arg)
{
    (void)arg;
    const struct timespec interval = {.tv_nsec = 1000000000 / run.options.per_second};
    while (!atomic_load(&run.stop) && atomic_load(&run.accepted) < MAX_MESSAGES) {
        bool paused = atomic_load(&run.paused);
        if (!paused)
            send_one(atomic_load(&run.accepted));
        atomic_store(&run.idle, paused);
        nanosleep(&interval, NULL);
    }
    return NULL;
}

/* --- waiting --- */

static bool tick(int64_t deadline)
{
    poll(NULL, 0, 2);
    return cny_now_ms() < deadline;
}

static void wait_for_handled(int messages, int64_t deadline, const char *what)
{
    while (atomic_load(&run.handled) < messages && tick(deadline))
        ;
    if (atomic_load(&run.handled) < messages)
        fail_msg("%s: %d sent, %d confirmed, %d handled, container: %s (%s), %s", what, atomic_load(&run.accepted),
                 atomic_load(&run.confirmed), atomic_load(&run.handled),
                 coney_status_name(coney_container_check(traffic.container)), coney_last_error(), run.failure);
}

void cny_traffic_flow(int messages, int patience_ms)
{
    int64_t deadline = cny_now_ms() + patience_ms;
    int sent = atomic_load(&run.accepted), target = sent + messages;
    /* Numbers below `sent` may still be on their way, so it is the new ones that are looked at. */
    for (int number = sent; number < target; number++) {
        while (!atomic_load(&run.was_handled[number]) && tick(deadline))
            ;
        if (!atomic_load(&run.was_handled[number]))
            wait_for_handled(target, 0, "messages do not flow");
    }
}

void cny_traffic_pause(void)
{
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    atomic_store(&run.paused, true);
    while (!atomic_load(&run.idle) && tick(deadline))
        ;
    wait_for_handled(atomic_load(&run.accepted), deadline, "the traffic does not come to rest");
    while (atomic_load(&run.confirmed) < atomic_load(&run.accepted) && tick(deadline))
        ;
    assert_int_equal(atomic_load(&run.confirmed), atomic_load(&run.accepted));
}

void cny_traffic_resume(void)
{
    atomic_store(&run.paused, false);
    atomic_store(&run.idle, false);
}

coney_connection_info cny_traffic_info(coney_connection_role role)
{
    coney_connection_info info;
    if (coney_connection_factory_info(traffic.factory, role, &info) != CONEY_OK)
        fail_msg("coney_connection_factory_info: %s", coney_last_error());
    return info;
}

static void fail_with_info(const char *what, const coney_connection_info *info)
{
    fail_msg("the %s connection is not %s: state %d, attempt %d, opened %d times, %s: %s",
             info->role == CONEY_CONSUMING ? "consuming" : "publishing", what, (int)info->state, info->attempt,
             (int)info->times_opened, coney_status_name(info->reason), info->text);
}

void cny_traffic_wait_for_state(coney_connection_role role, coney_connection_state state, int patience_ms)
{
    int64_t deadline = cny_now_ms() + patience_ms;
    while (cny_traffic_info(role).state != state && tick(deadline))
        ;
    coney_connection_info info = cny_traffic_info(role);
    if (info.state != state)
        fail_with_info("in the state waited for", &info);
}

void cny_traffic_wait_for_openings(coney_connection_role role, uint64_t times, int patience_ms)
{
    int64_t deadline = cny_now_ms() + patience_ms;
    while (cny_traffic_info(role).times_opened < times && tick(deadline))
        ;
    coney_connection_info info = cny_traffic_info(role);
    if (info.times_opened < times)
        fail_with_info("open again", &info);
}

void cny_traffic_wait_for_check(coney_status status, int patience_ms)
{
    int64_t deadline = cny_now_ms() + patience_ms;
    while (coney_container_check(traffic.container) != status && tick(deadline))
        ;
    coney_status now = coney_container_check(traffic.container);
    if (now != status)
        fail_msg("the container's check says %s (%s), not %s", coney_status_name(now), coney_last_error(),
                 coney_status_name(status));
}

void cny_traffic_wait_for_recovery(uint64_t times, int patience_ms)
{
    cny_traffic_wait_for_openings(CONEY_CONSUMING, times, patience_ms);
    cny_traffic_wait_for_openings(CONEY_PUBLISHING, times, patience_ms);
}

/* --- start and end --- */

static void reset_counts(void)
{
    atomic_store(&run.stop, false);
    atomic_store(&run.paused, false);
    atomic_store(&run.idle, false);
    atomic_store(&run.accepted, 0);
    atomic_store(&run.refused, 0);
    atomic_store(&run.confirmed, 0);
    atomic_store(&run.failed, 0);
    atomic_store(&run.handled, 0);
    atomic_store(&run.duplicates, 0);
    for (int i = 0; i < MAX_MESSAGES; i++) {
        atomic_store(&run.was_confirmed[i], 0);
        atomic_store(&run.was_handled[i], 0);
    }
    run.failure[0] = '\0';
}

static void set_default(int *number, int value)
{
    if (*number == 0)
        *number = value;
}

static void choose_options(const cny_traffic_options *options)
{
    run.options = options ? *options : (cny_traffic_options){0};
    if (!run.options.queue)
        run.options.queue = "traffic";
    if (run.options.kind == CONEY_QUEUE_DEFAULT)
        run.options.kind = CONEY_CLASSIC;
    set_default(&run.options.per_second, 200);
    set_default(&run.options.message_bytes, 100);
    set_default(&run.options.factory.heartbeat_s, 1);
    set_default(&run.options.factory.connection_timeout_ms, 2000);
    set_default(&run.options.factory.close_timeout_ms, 1000);
    set_default(&run.options.factory.recovery.first_delay_ms, 50);
    set_default(&run.options.factory.recovery.max_delay_ms, 500);
}

static void insist(coney_status status, const char *what)
{
    if (status != CONEY_OK)
        fail_msg("%s: %s: %s", what, coney_status_name(status), coney_last_error());
}

static void make_client(const char *uri)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = run.options.queue, .kind = run.options.kind});
    insist(coney_connection_factory_new(&traffic.factory, uri, &run.options.factory), "factory");
    coney_status status =
        coney_admin_new(&traffic.admin, traffic.factory, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    insist(status, "admin");
    insist(coney_admin_declare(traffic.admin), "declare");
    insist(coney_admin_purge_queue(traffic.admin, run.options.queue, NULL), "purge");
    insist(coney_template_new(&traffic.sender, traffic.factory,
                              &(coney_template_options){.resend_unconfirmed = true, .timeout_ms = 30000}),
           "template");
    insist(coney_container_new(&traffic.container, traffic.factory,
                               &(coney_container_options){
                                   .name = "traffic", .resubscribe_interval_ms = 200, .shutdown_timeout_ms = 1000}),
           "container");
    insist(
        coney_container_listen(traffic.container, &(coney_listener){.queue = run.options.queue, .on_message = handle}),
        "listen");
    insist(coney_container_start(traffic.container), "start");
}

void cny_traffic_start(const char *uri, const cny_traffic_options *options)
{
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF);
    reset_counts();
    choose_options(options);
    make_client(uri);
    cny_traffic_forget_gaps();
    run.publishing = pthread_create(&run.publisher, NULL, publish, NULL) == 0;
    assert_true(run.publishing);
    cny_traffic_flow(20, PATIENCE_MS);
}

static void stop_publishing(void)
{
    atomic_store(&run.stop, true);
    if (run.publishing)
        pthread_join(run.publisher, NULL);
    run.publishing = false;
}

/* The handled ones may be more than the confirmed ones, so each has to be looked at. */
static int confirmed_but_not_handled(void)
{
    int lost = 0;
    for (int i = 0; i < atomic_load(&run.accepted); i++)
        lost += atomic_load(&run.was_confirmed[i]) && !atomic_load(&run.was_handled[i]);
    return lost;
}

void cny_traffic_finish(int patience_ms)
{
    int64_t deadline = cny_now_ms() + patience_ms;
    stop_publishing();
    insist(coney_template_wait_for_confirms(traffic.sender, patience_ms), "wait for confirms");
    while (confirmed_but_not_handled() > 0 && tick(deadline))
        ;
    int lost = confirmed_but_not_handled(), failed = atomic_load(&run.failed);
    print_message("%d sent, %d confirmed, %d handled, %d of them twice, %d refused; longest gap %d ms\n",
                  atomic_load(&run.accepted), atomic_load(&run.confirmed), atomic_load(&run.handled),
                  atomic_load(&run.duplicates), atomic_load(&run.refused), cny_traffic_longest_gap_ms());
    if (run.failure[0])
        print_message("the first that was refused or failed: %s\n", run.failure);
    if (lost > 0)
        fail_msg("%d messages were confirmed and not handled", lost);
    if (failed > 0)
        fail_msg("%d sends were not confirmed once, the first: %s", failed, run.failure);
    assert_int_equal(atomic_load(&run.confirmed), atomic_load(&run.accepted));
    insist(coney_container_check(traffic.container), "check");
}

int cny_traffic_teardown(void **state)
{
    (void)state;
    cny_traffic_client ended = traffic;
    stop_publishing();
    traffic = (cny_traffic_client){0};
    coney_container_free(ended.container);
    if (ended.admin)
        coney_admin_delete_queue(ended.admin, run.options.queue, NULL); /* as well as may be */
    coney_template_free(ended.sender);
    coney_admin_free(ended.admin);
    coney_connection_factory_free(ended.factory);
    return 0;
}

int cny_traffic_refused(void)
{
    return atomic_load(&run.refused);
}

int cny_traffic_longest_gap_ms(void)
{
    return (int)atomic_load(&run.longest_gap_ms);
}

void cny_traffic_forget_gaps(void)
{
    atomic_store(&run.last_ms, cny_now_ms());
    atomic_store(&run.longest_gap_ms, 0);
}
