/* SPDX-License-Identifier: MIT */
/* See listening.h. */
#include "support/container_fixture.h"

#include "rabbit/factory/factory.h"
#include "support/plain_client.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

test_listening here;

/* ---- the handler ---- */

coney_outcome test_handle(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    if (coney_message_redelivered(coney_delivery_message(delivery)))
        atomic_fetch_add(&handler->redelivered, 1);
    atomic_fetch_add(&handler->inside, 1);
    atomic_fetch_add(&handler->calls, 1);
    while (atomic_load(&handler->holds))
        usleep(1000);
    int outcome = atomic_load(&handler->outcome);
    atomic_fetch_sub(&handler->inside, 1);
    return outcome ? (coney_outcome)outcome : CONEY_ACK;
}

/* ---- what containers tell ---- */

enum { MAX_EVENTS = 2000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static test_event events[MAX_EVENTS];
static int event_count;

coney_connection_factory *test_events_factory;

void test_record_event(const coney_container_event *event, void *user)
{
    (void)user;
    check(cny_factory_on_events_thread(test_events_factory ? test_events_factory : client.factory));
    pthread_mutex_lock(&lock);
    if (event_count < MAX_EVENTS) {
        test_event *one = &events[event_count++];
        *one = (test_event){.kind = event->kind,
                            .status = event->status,
                            .broker_code = event->broker_code,
                            .fatal = event->fatal,
                            .duration_ms = event->duration_ms,
                            .at_ms = cny_now_ms()};
        snprintf(one->container, sizeof one->container, "%s", event->container);
        snprintf(one->listener_id, sizeof one->listener_id, "%s", event->listener_id);
        snprintf(one->queue, sizeof one->queue, "%s", event->queue);
        snprintf(one->consumer_tag, sizeof one->consumer_tag, "%s", event->consumer_tag);
        snprintf(one->text, sizeof one->text, "%s", event->text);
    }
    pthread_mutex_unlock(&lock);
}

/* The place of the one with that index among those of its kind; -1: there is none. */
static int find_event(coney_container_event_kind kind, int index)
{
    for (int i = 0; i < event_count; i++) {
        if (events[i].kind == kind && index-- == 0)
            return i;
    }
    return -1;
}

void test_forget_events(void)
{
    pthread_mutex_lock(&lock);
    event_count = 0;
    pthread_mutex_unlock(&lock);
}

int test_count_events(coney_container_event_kind kind)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    while (find_event(kind, count) >= 0)
        count++;
    pthread_mutex_unlock(&lock);
    return count;
}

void test_wait_for_events(coney_container_event_kind kind, int count)
{
    for (int64_t until = cny_deadline(TEST_PATIENCE_MS); test_count_events(kind) < count; usleep(2000)) {
        if (cny_now_ms() >= until)
            fail_msg("%d events %s, not %d", test_count_events(kind), coney_container_event_name(kind), count);
    }
}

test_event test_event_at(coney_container_event_kind kind, int index)
{
    pthread_mutex_lock(&lock);
    int place = find_event(kind, index);
    test_event event = place >= 0 ? events[place] : (test_event){.fatal = false};
    pthread_mutex_unlock(&lock);
    if (place < 0)
        fail_msg("there is no event %s number %d", coney_container_event_name(kind), index);
    return event;
}

int test_event_place(coney_container_event_kind kind)
{
    pthread_mutex_lock(&lock);
    int place = find_event(kind, 0);
    pthread_mutex_unlock(&lock);
    return place;
}

/* ---- stopping in the background ---- */

static struct {
    pthread_t thread;
    bool running; /* and not joined yet */
    atomic_bool over;
    coney_stop_mode mode;
    int timeout_ms;
    coney_status status;
} background;

static void *stop_it(void *unused)
{
    (void)unused;
    background.status = coney_container_stop_with(here.container, background.mode, background.timeout_ms);
    atomic_store(&background.over, true);
    return NULL;
}

void test_stop_in_background(coney_stop_mode mode, int timeout_ms)
{
    assert_false(background.running);
    background.mode = mode;
    background.timeout_ms = timeout_ms;
    atomic_store(&background.over, false);
    assert_int_equal(pthread_create(&background.thread, NULL, stop_it, NULL), 0);
    background.running = true;
}

bool test_background_is_over(void)
{
    return atomic_load(&background.over);
}

coney_status test_background_end(void)
{
    pthread_join(background.thread, NULL);
    background.running = false;
    return background.status;
}

/* ---- the container ---- */

int test_listening_setup(void **state)
{
    static int number;
    (void)state;
    char what[64];
    snprintf(what, sizeof what, "listening.%d", ++number);
    here = (test_listening){.container = NULL};
    snprintf(here.queue, sizeof here.queue, "%s", test_name(what));
    snprintf(here.other, sizeof here.other, "%s.other", here.queue);
    test_forget_events();
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF); /* NOLINT(concurrency-mt-unsafe) */
    test_make_queue(here.queue);
    return 0;
}

int test_listening_teardown(void **state)
{
    atomic_store(&here.handler.holds, 0);
    if (background.running)
        test_background_end();
    coney_container_free(here.container);
    here.container = NULL;
    test_wait_until(atomic_load(&here.handler.inside) == 0);
    test_log_stop();
    coney_status status = coney_admin_delete_queue(client.admin, here.queue, NULL);
    if (status == CONEY_OK)
        status = coney_admin_delete_queue(client.admin, here.other, NULL);
    return status == CONEY_OK ? test_no_failed_checks(state) : -1;
}

void test_use_container(const coney_container_options *options)
{
    coney_container_options all = options ? *options : (coney_container_options){.name = "tests"};
    if (!all.name)
        all.name = "tests";
    all.workers = test_workers;
    if (!all.on_event)
        all.on_event = test_record_event;
    assert_ok(coney_container_new(&here.container, client.factory, &all));
}

void test_listen(const coney_listener *listener)
{
    coney_listener all = *listener;
    if (!all.queue)
        all.queue = here.queue;
    if (!all.on_message && !all.on_batch && !all.handlers)
        all.on_message = test_handle;
    if (!all.user)
        all.user = &here.handler;
    assert_ok(coney_container_listen(here.container, &all));
}

void test_start(void)
{
    test_use_container(NULL);
    test_listen(&(coney_listener){.queue = here.queue});
    assert_ok(coney_container_start(here.container));
}

void test_send(const char *queue, int count)
{
    for (int i = 0; i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%d", i);
        coney_message *message = test_text(text);
        assert_ok(coney_template_send(client.sender, queue, message, NULL));
        coney_message_unref(message);
    }
}

int test_consumers_at_broker(const char *queue)
{
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    return (int)info.consumer_count;
}

coney_health test_health(void)
{
    coney_health health;
    assert_ok(coney_container_health(here.container, &health));
    return health;
}

coney_listener_statistics test_statistics(const char *id)
{
    coney_listener_statistics statistics;
    assert_ok(coney_container_statistics(here.container, id ? id : here.queue, &statistics));
    return statistics;
}

/* ---- the broker ---- */

void test_rabbitmqctl(const char *command)
{
    char line[600];
    const char *tool = getenv("CONEY_TEST_RABBITMQCTL"); /* NOLINT(concurrency-mt-unsafe): nobody changes it */
    if (!tool)
        test_leave_out(BROKER_IS_NOT_OURS);
    snprintf(line, sizeof line, "%s --quiet %s >/dev/null 2>&1", tool, command);
    assert_int_equal(system(line), 0); /* NOLINT(bugprone-command-processor,concurrency-mt-unsafe): a test's own */
}

/* The local port of a socket that is connected to the broker; 0 for any other descriptor. */
static int port_to_broker(int fd)
{
    struct sockaddr_in peer = {0}, own = {0};
    socklen_t peer_size = sizeof peer, own_size = sizeof own;
    bool connected = getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0 && peer.sin_family == AF_INET &&
                     ntohs(peer.sin_port) == test_uri_port();
    return connected && getsockname(fd, (struct sockaddr *)&own, &own_size) == 0 ? ntohs(own.sin_port) : 0;
}

enum { MAX_FD = 1024, MAX_KILLED = 32 };

/* Fills in the ports of this process's connections and returns how many there are. */
static size_t find_connections(int *ports)
{
    size_t count = 0;
    for (int fd = 0; fd < MAX_FD && count < MAX_KILLED; fd++) {
        ports[count] = port_to_broker(fd);
        count += ports[count] != 0;
    }
    return count;
}

static bool is_open(const int *ports, size_t count)
{
    int now[MAX_KILLED + 1];
    size_t open = find_connections(now);
    for (size_t i = 0; i < open; i++) {
        for (size_t k = 0; k < count; k++) {
            if (now[i] == ports[k])
                return true;
        }
    }
    return false;
}

/* The broker knows them by their names, which end with the id of this process: Docker changes the ports. When this
 * returns, the client has noticed the losses, so what is sent then goes over new connections. A plain client would
 * notice nothing. */
void test_kill_connections(void)
{
    plain_close();
    int killed[MAX_KILLED + 1];
    size_t count = find_connections(killed);
    char command[560];
    const char *eval = getenv("CONEY_TEST_EVAL"); /* NOLINT(concurrency-mt-unsafe): nobody changes it */
    if (!eval)
        test_leave_out(BROKER_IS_NOT_OURS);
    snprintf(command, sizeof command,
             "%s >/dev/null <<'END'\n"
             "[rabbit_networking:close_connection(C, \"test\") || C <- rabbit_networking:connections(), "
             "match =:= (catch re:run(element(3, lists:keyfind(<<\"connection_name\">>, 1, "
             "proplists:get_value(client_properties, rabbit_networking:connection_info(C, [client_properties])))), "
             "\"#%ld([.]|$)\", [{capture, none}]))].\nEND\n",
             eval, (long)getpid());
    assert_int_equal(system(command), 0); /* NOLINT(bugprone-command-processor,concurrency-mt-unsafe): a test's own */
    test_wait_until(!is_open(killed, count));
}
