/* SPDX-License-Identifier: MIT */
/* The fault tests' fixture. Completions arrive on the client's events thread and are kept under a
 * lock. */
#include "support/fault_fixture.h"

#include "base/base.h"
#include "rabbit/connection/channel.h"
#include "rabbit/template/template.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

fault_fixture fault;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fault_completion completions[FAULT_MAX_SENDS];
static int indices[FAULT_MAX_SENDS]; /* their addresses are the callbacks' user */

/* ---- listeners ---- */

static coney_connection_info connection_events[FAULT_MAX_EVENTS];
static coney_channel_info channel_events[FAULT_MAX_EVENTS];
static int connection_event_count, channel_event_count;
static pthread_t events_thread;
static bool on_another_thread;
static int tests_ended; /* the one of indices with this number is the user of this test's listeners */

/* Under lock. A factory whose close gave up may have something to say when the next test has begun. */
static bool is_of_this_test(const void *user)
{
    return user == &indices[tests_ended % FAULT_MAX_SENDS];
}

/* Under lock. */
static void note_thread(void)
{
    if (connection_event_count + channel_event_count == 0)
        events_thread = pthread_self();
    on_another_thread |= !pthread_equal(events_thread, pthread_self());
}

static void note_connection(const coney_connection_info *info, void *user)
{
    pthread_mutex_lock(&lock);
    if (is_of_this_test(user)) {
        note_thread();
        if (connection_event_count < FAULT_MAX_EVENTS)
            connection_events[connection_event_count++] = *info;
    }
    pthread_mutex_unlock(&lock);
}

static void note_channel(const coney_channel_info *info, void *user)
{
    pthread_mutex_lock(&lock);
    if (is_of_this_test(user)) {
        note_thread();
        if (channel_event_count < FAULT_MAX_EVENTS)
            channel_events[channel_event_count++] = *info;
    }
    pthread_mutex_unlock(&lock);
}

int fault_connection_events(coney_connection_role role, coney_connection_info events[FAULT_MAX_EVENTS])
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < connection_event_count; i++) {
        if (connection_events[i].role == role)
            events[count++] = connection_events[i];
    }
    pthread_mutex_unlock(&lock);
    return count;
}

int fault_channel_events(coney_connection_role role, coney_channel_info events[FAULT_MAX_EVENTS])
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < channel_event_count; i++) {
        if (channel_events[i].role == role)
            events[count++] = channel_events[i];
    }
    pthread_mutex_unlock(&lock);
    return count;
}

static int forget_events(void)
{
    pthread_mutex_lock(&lock);
    bool wrong = on_another_thread;
    connection_event_count = channel_event_count = 0;
    on_another_thread = false;
    tests_ended++;
    pthread_mutex_unlock(&lock);
    if (wrong)
        print_error("a listener ran on another thread than the one before\n");
    return wrong;
}

/* ---- life ---- */

void fault_start(cny_script *script, const coney_connection_factory_options *factory_options)
{
    fault_start_with(&(cny_broker_options){.script = script}, factory_options);
}

void fault_start_with(const cny_broker_options *options, const coney_connection_factory_options *factory_options)
{
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF);
    fault.broker = cny_broker_start(options);
    coney_connection_factory_options client = {0};
    if (factory_options)
        client = *factory_options;
    if (client.close_timeout_ms == 0)
        client.close_timeout_ms = 500;
    if (client.recovery.first_delay_ms == 0)
        client.recovery = (coney_recovery_options)FAULT_QUICK_RECOVERY;
    if (!client.on_channel && !client.on_connection) {
        client.on_connection = note_connection;
        client.on_channel = note_channel;
        client.listener_user = &indices[tests_ended % FAULT_MAX_SENDS];
    }
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, cny_broker_uri(fault.broker), &client));
}

static int twice_completed(void)
{
    int twice = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FAULT_MAX_SENDS; i++) {
        if (completions[i].count > 1)
            print_error("send %d completed %d times\n", i, completions[i].count);
        twice |= completions[i].count > 1;
        completions[i] = (fault_completion){0};
    }
    pthread_mutex_unlock(&lock);
    return twice;
}

/* ---- another thread ---- */

static struct {
    pthread_t thread;
    bool running; /* and not joined yet */
    atomic_bool over;
    coney_status (*call)(void);
    coney_status status;
    int broker_code;
    char text[1024];
} background;

static void *run_background(void *unused)
{
    (void)unused;
    background.status = background.call();
    background.broker_code = coney_last_error_details()->broker_code;
    snprintf(background.text, sizeof background.text, "%s", coney_last_error());
    atomic_store(&background.over, true);
    return NULL;
}

void fault_in_background(coney_status (*call)(void))
{
    assert_false(background.running);
    background.call = call;
    atomic_store(&background.over, false);
    assert_int_equal(pthread_create(&background.thread, NULL, run_background, NULL), 0);
    background.running = true;
}

bool fault_background_is_over(void)
{
    return atomic_load(&background.over);
}

coney_status fault_background_end(void)
{
    fault_wait_until(fault_background_is_over());
    pthread_join(background.thread, NULL);
    background.running = false;
    return background.status == CONEY_OK
               ? CONEY_OK
               : cny_fail_code(background.status, background.broker_code, "%s", background.text);
}

static void end_background(void)
{
    if (!background.running)
        return;
    coney_connection_factory_close(fault.factory);
    pthread_join(background.thread, NULL);
    background.running = false;
}

int fault_teardown(void **state)
{
    (void)state;
    end_background();
    fault_fixture ended = fault;
    fault = (fault_fixture){0};
    coney_container_free(ended.container);
    coney_template_free(ended.sender);
    coney_admin_free(ended.admin);
    coney_connection_factory_free(ended.factory);
    int twice = twice_completed();
    int wrong_thread = forget_events();
    cny_broker_stop(ended.broker);
    return twice || wrong_thread;
}

void fault_use_template(const coney_template_options *options)
{
    fault_expect_status(CONEY_OK, coney_template_new(&fault.sender, fault.factory, options));
}

void fault_use_admin(int timeout_ms)
{
    coney_admin_options options = {.timeout_ms = timeout_ms};
    fault_expect_status(CONEY_OK, coney_admin_new(&fault.admin, fault.factory, &options));
}

void fault_use_container(const coney_container_options *options, coney_message_handler *handler, int concurrency)
{
    coney_listener orders = {.queue = "orders", .on_message = handler, .concurrency = concurrency};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
}

coney_message *fault_message(const char *text)
{
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, text, strlen(text), NULL));
    return message;
}

coney_status fault_send(int timeout_ms)
{
    coney_message *message = fault_message("hello");
    coney_send_options options = {.timeout_ms = timeout_ms};
    coney_status status = coney_template_send(fault.sender, "key", message, &options);
    coney_message_unref(message);
    return status;
}

bool fault_send_waits_for_room(void)
{
    pthread_mutex_lock(&fault.sender->lock);
    bool waits = false;
    cny_channel *channel = fault.sender->channel;
    if (channel) {
        cny_channel_lock(channel);
        waits = channel->connection->outbox.first_in_queue;
        cny_channel_unlock(channel);
    }
    pthread_mutex_unlock(&fault.sender->lock);
    return waits;
}

static void note_text(char noted[64], const char *text)
{
    snprintf(noted, 64, "%s", text ? text : "-");
}

static void record(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    pthread_mutex_lock(&lock);
    fault_completion *completion = &completions[(int *)user - indices];
    completion->count++;
    completion->status = error ? error->status : CONEY_OK;
    completion->broker_code = error ? error->broker_code : 0;
    snprintf(completion->text, sizeof completion->text, "%s", error ? error->text : "");
    note_text(completion->reply_text, error ? error->reply_text : NULL);
    note_text(completion->exchange, error ? error->exchange : NULL);
    note_text(completion->routing_key, error ? error->routing_key : NULL);
    pthread_mutex_unlock(&lock);
}

coney_status fault_send_message_async(int index, const char *exchange, coney_message *message)
{
    coney_send_options options = {.exchange = exchange};
    coney_status status = coney_template_send_async(fault.sender, "key", message, &options, record, &indices[index]);
    coney_message_unref(message);
    return status;
}

coney_status fault_send_async(int index, const char *exchange)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    return fault_send_message_async(index, exchange, fault_message(text));
}

void fault_wait_for_confirms(void)
{
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, CNY_PATIENCE_MS));
}

fault_completion fault_completed(int index)
{
    pthread_mutex_lock(&lock);
    fault_completion completion = completions[index];
    pthread_mutex_unlock(&lock);
    return completion;
}

void fault_expect_completion(int index, coney_status status)
{
    fault_completion completion = fault_completed(index);
    if (completion.count != 1 || completion.status != status)
        fail_msg("send %d: completed %d times, as %s (%s), not once as %s", index, completion.count,
                 coney_status_name(completion.status), completion.text, coney_status_name(status));
}

coney_status fault_ask(void)
{
    coney_queue_info info;
    return coney_admin_queue_info(fault.admin, "orders", &info);
}

coney_status fault_wait_for_end_of_consuming(void)
{
    static coney_channel_info events[FAULT_MAX_EVENTS];
    for (int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS; cny_now_ms() < deadline; poll(NULL, 0, 2)) {
        int count = fault_channel_events(CONEY_CONSUMING, events);
        for (int i = 0; i < count; i++) {
            if (!events[i].open)
                return cny_fail_code(events[i].reason, events[i].broker_code, "%s", events[i].text);
        }
    }
    return CONEY_OK;
}

/* ---- how a connection is doing ---- */

coney_connection_info fault_info(coney_connection_role role)
{
    coney_connection_info info;
    fault_expect_status(CONEY_OK, coney_connection_factory_info(fault.factory, role, &info));
    return info;
}

coney_connection_info fault_wait_for_opening(coney_connection_role role, uint64_t times)
{
    coney_connection_info info;
    fault_wait_until((info = fault_info(role)).state == CONEY_CONNECTION_OPEN && info.times_opened >= times);
    return info;
}

coney_connection_info fault_wait_for_state(coney_connection_role role, coney_connection_state state)
{
    coney_connection_info info;
    fault_wait_until((info = fault_info(role)).state == state);
    return info;
}

coney_connection_info fault_wait_for_info(coney_connection_role role, const char *part)
{
    coney_connection_info info;
    fault_wait_until(strstr((info = fault_info(role)).text, part));
    return info;
}

void fault_wait_a_little(int64_t until_ms, const char *condition, const char *file, int line)
{
    if (cny_now_ms() >= until_ms) {
        print_error("waited in vain until %s\n", condition);
        _fail(file, line);
    }
    poll(NULL, 0, 2);
}

/* ---- checks ---- */

void fault_assert_status(coney_status expected, coney_status seen, const char *call, const char *file, int line)
{
    if (seen == expected)
        return;
    print_error("%s is %s (\"%s\"), not %s\n", call, coney_status_name(seen), coney_last_error(),
                coney_status_name(expected));
    _fail(file, line);
}

void fault_assert_text(const char *part, const char *file, int line)
{
    if (strstr(coney_last_error(), part))
        return;
    print_error("\"%s\" does not say \"%s\"\n", coney_last_error(), part);
    _fail(file, line);
}
