/* SPDX-License-Identifier: MIT */
/* A real broker that dies, freezes, runs out of memory or changes its mind, while messages flow. It is
 * this program's own, so that it disturbs no other test. */
#include "support/cluster.h"
#include "support/test_support.h"
#include "support/traffic.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum { MESSAGES = 40, PATIENCE_MS = 60000, CALL_MS = 400 };

static cny_cluster *cluster;
static char uri[256];        /* as guest, in the default virtual host */
static char shop_uri[256];   /* as carrot, in the virtual host shop; both can be changed and deleted */
static const char *password; /* what the provider knows */

static void ctl(const char *arguments)
{
    cny_cluster_ctl(cluster, 0, arguments);
}

static int start_broker(void **state)
{
    (void)state;
    cluster = cny_cluster_start(1);
    snprintf(uri, sizeof uri, "%s/", cny_cluster_uri(cluster));
    snprintf(shop_uri, sizeof shop_uri, "amqp://carrot:orange@127.0.0.1:%d/shop", cny_cluster_port(cluster, 0));
    ctl("add_user carrot orange");
    return 0;
}

static int stop_broker(void **state)
{
    (void)state;
    cny_cluster_stop(cluster);
    return 0;
}

static void add_vhost(void)
{
    ctl("add_vhost shop");
    ctl("set_permissions --vhost shop carrot '.*' '.*' '.*'");
}

static bool sound = true; /* the test before came to its end and left nothing behind */

static void heal_broker(void)
{
    if (!sound) {
        cny_cluster_ensure(cluster, 0);
        cny_cluster_try_ctl(cluster, 0, "start_app");
        ctl("set_vm_memory_high_watermark 0.4");
        ctl("change_password carrot orange");
    }
    sound = false;
}

static int start_traffic(void **state)
{
    (void)state;
    heal_broker();
    cny_traffic_start(uri, NULL);
    return 0;
}

/* For tests that shall not lose a connection: a slow broker must not, either. */
static int start_traffic_with_slow_heartbeats(void **state)
{
    (void)state;
    heal_broker();
    cny_traffic_start(uri, &(cny_traffic_options){.factory.heartbeat_s = 5});
    return 0;
}

static int start_shop(void **state)
{
    (void)state;
    heal_broker();
    add_vhost();
    cny_traffic_start(shop_uri, NULL);
    return 0;
}

static int end_shop(void **state)
{
    cny_traffic_teardown(state);
    cny_cluster_try_ctl(cluster, 0, "delete_vhost shop");
    return 0;
}

static void wait_for_both(coney_connection_state state)
{
    cny_traffic_wait_for_state(CONEY_CONSUMING, state, PATIENCE_MS);
    cny_traffic_wait_for_state(CONEY_PUBLISHING, state, PATIENCE_MS);
}

static void finish(void)
{
    cny_traffic_flow(MESSAGES, PATIENCE_MS);
    cny_traffic_finish(PATIENCE_MS);
    sound = true;
}

static void expect_recovery(void)
{
    cny_traffic_wait_for_recovery(2, PATIENCE_MS);
    finish();
    assert_int_not_equal(cny_traffic_info(CONEY_CONSUMING).reason, CONEY_OK);
    assert_int_not_equal(cny_traffic_info(CONEY_PUBLISHING).reason, CONEY_OK);
}

/* --- the node goes away and comes back --- */

static void test_killed_and_restarted_broker_loses_nothing(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 0, "KILL");
    wait_for_both(CONEY_CONNECTION_CONNECTING);
    cny_cluster_restart(cluster, 0);
    expect_recovery();
}

static void test_calls_without_a_broker_keep_their_deadlines_and_say_why(void **state)
{
    (void)state;
    coney_message *message = test_text("-1");
    coney_admin *admin;
    coney_queue_info info;
    coney_template *plain;
    assert_ok(coney_template_new(&plain, traffic.factory, &(coney_template_options){.timeout_ms = CALL_MS}));
    assert_ok(coney_admin_new(&admin, traffic.factory, &(coney_admin_options){.timeout_ms = CALL_MS}));
    cny_cluster_signal(cluster, 0, "KILL");
    wait_for_both(CONEY_CONNECTION_CONNECTING);
    int64_t start = cny_now_ms();
    assert_fails(coney_template_send(plain, "traffic", message, NULL), CONEY_E_CONNECT, "Connection refused");
    test_expect_elapsed(start, CALL_MS - 1, CALL_MS);
    start = cny_now_ms();
    assert_fails(coney_admin_queue_info(admin, "traffic", &info), CONEY_E_CONNECT, "Connection refused");
    test_expect_elapsed(start, CALL_MS - 1, CALL_MS);
    coney_admin_free(admin);
    coney_template_free(plain);
    coney_message_unref(message);
    cny_cluster_restart(cluster, 0);
    expect_recovery();
}

static void test_frozen_broker_is_noticed_by_heartbeats_and_loses_nothing(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 0, "STOP");
    int64_t start = cny_now_ms();
    wait_for_both(CONEY_CONNECTION_CONNECTING);
    test_expect_elapsed(start, 0, 3500);
    cny_cluster_signal(cluster, 0, "CONT");
    expect_recovery();
}

/* Shorter than heartbeats can tell: nothing happens but a pause. */
static void test_broker_that_freezes_shortly_costs_no_connection(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 0, "STOP");
    poll(NULL, 0, 3000);
    cny_cluster_signal(cluster, 0, "CONT");
    finish();
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).times_opened, 1);
}

static void test_stopped_and_started_application_loses_nothing(void **state)
{
    (void)state;
    ctl("stop_app");
    wait_for_both(CONEY_CONNECTION_CONNECTING);
    ctl("start_app");
    expect_recovery();
}

static atomic_bool heard; /* the broker's own words */

static void listen_for_words(const coney_connection_info *info, void *user)
{
    (void)user;
    if (info->state == CONEY_CONNECTION_CONNECTING && info->reason == CONEY_E_LOST && strstr(info->text, "320") &&
        strstr(info->text, "tidying up"))
        atomic_store(&heard, true);
}

static int start_traffic_and_listen(void **state)
{
    (void)state;
    heal_broker();
    atomic_store(&heard, false);
    cny_traffic_start(uri, &(cny_traffic_options){.factory.on_connection = listen_for_words});
    return 0;
}

static void test_closed_connections_are_opened_again_and_the_reason_is_the_brokers(void **state)
{
    (void)state;
    ctl("close_all_connections 'tidying up'");
    expect_recovery();
    assert_true(atomic_load(&heard));
}

static void test_container_says_why_it_does_not_consume(void **state)
{
    (void)state;
    cny_cluster_signal(cluster, 0, "KILL");
    wait_for_both(CONEY_CONNECTION_CONNECTING);
    assert_int_not_equal(coney_container_check(traffic.container), CONEY_OK);
    assert_non_null(strstr(coney_last_error(), "traffic"));
    cny_cluster_restart(cluster, 0);
    cny_traffic_wait_for_check(CONEY_OK, PATIENCE_MS);
    expect_recovery();
}

/* --- memory --- */

static atomic_int stored_seen;

static coney_outcome count_stored(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&stored_seen, 1);
    return CONEY_ACK;
}

static void store_messages(int count)
{
    coney_message *message = test_text("-1");
    assert_ok(coney_admin_declare_queue(traffic.admin, &(coney_queue){.name = "stored"}, NULL));
    assert_ok(coney_admin_purge_queue(traffic.admin, "stored", NULL));
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send(traffic.sender, "stored", message, NULL));
    coney_message_unref(message);
}

static void start_consuming_stored(coney_container **container, const coney_container_options *options)
{
    atomic_store(&stored_seen, 0);
    assert_ok(coney_container_new(container, traffic.factory, options));
    assert_ok(coney_container_listen(*container, &(coney_listener){.queue = "stored", .on_message = count_stored}));
    assert_ok(coney_container_start(*container));
}

static void expect_consuming_of_stored(int count)
{
    coney_container *container;
    start_consuming_stored(&container, NULL);
    test_wait_for(&stored_seen, count);
    coney_container_free(container);
    assert_ok(coney_admin_delete_queue(traffic.admin, "stored", NULL));
}

static void wait_for_blocked(bool blocked)
{
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (cny_traffic_info(CONEY_PUBLISHING).blocked != blocked && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).blocked, blocked);
}

static void test_memory_alarm_blocks_senders_and_no_consumer(void **state)
{
    (void)state;
    coney_message *message = test_text("-1");
    coney_template *patient, *hasty;
    assert_ok(coney_template_new(&patient, traffic.factory, &(coney_template_options){.timeout_ms = CALL_MS}));
    assert_ok(coney_template_new(&hasty, traffic.factory, &(coney_template_options){.flow = CONEY_FLOW_FAIL}));
    store_messages(50);
    ctl("set_vm_memory_high_watermark absolute 1");
    wait_for_blocked(true); /* the traffic makes the broker say so */
    assert_false(cny_traffic_info(CONEY_CONSUMING).blocked);

    int64_t start = cny_now_ms();
    assert_fails(coney_template_send(patient, "traffic", message, NULL), CONEY_E_BLOCKED, "");
    test_expect_elapsed(start, CALL_MS - 1, CALL_MS);
    start = cny_now_ms();
    assert_fails(coney_template_send(hasty, "traffic", message, NULL), CONEY_E_BLOCKED, "");
    test_expect_elapsed(start, 0, 0);
    expect_consuming_of_stored(50);
    assert_ok(coney_container_check(traffic.container));

    ctl("set_vm_memory_high_watermark 0.4");
    wait_for_blocked(false);
    assert_ok(coney_template_send(patient, "traffic", message, NULL));
    assert_ok(coney_template_send(hasty, "traffic", message, NULL));
    coney_template_free(patient);
    coney_template_free(hasty);
    coney_message_unref(message);
    finish();
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).times_opened, 1);
}

/* What is sent when the alarm goes off, and what the broker then does not read, waits for its end. */
static void test_broker_killed_during_a_memory_alarm_loses_nothing(void **state)
{
    (void)state;
    ctl("set_vm_memory_high_watermark absolute 1");
    wait_for_blocked(true);
    cny_cluster_signal(cluster, 0, "KILL");
    cny_cluster_restart(cluster, 0); /* with its usual watermark */
    expect_recovery();
    assert_false(cny_traffic_info(CONEY_PUBLISHING).blocked);
}

/* --- queues --- */

static void test_deleted_queue_that_an_admin_knows_is_declared_and_consumed_again(void **state)
{
    (void)state;
    cny_traffic_pause();
    ctl("delete_queue traffic");
    coney_queue_info info;
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while ((coney_admin_queue_info(traffic.admin, "traffic", &info) != CONEY_OK || info.consumer_count != 1) &&
           cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    cny_traffic_wait_for_check(CONEY_OK, PATIENCE_MS);
    cny_traffic_resume();
    finish();
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).times_opened, 1);
}

static void wait_for_check(coney_container *container, coney_status status)
{
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (coney_container_check(container) != status && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    assert_int_equal(coney_container_check(container), status);
}

static void test_consumer_returns_to_a_deleted_queue_when_it_is_there_again(void **state)
{
    (void)state;
    const coney_container_options options = {.name = "patient", .resubscribe_interval_ms = 200};
    coney_container *container;
    coney_message *message = test_text("-1");
    store_messages(1);
    start_consuming_stored(&container, &options);
    test_wait_for(&stored_seen, 1);
    assert_ok(coney_admin_delete_queue(traffic.admin, "stored", NULL));
    wait_for_check(container, CONEY_E_NOT_FOUND);
    assert_non_null(strstr(coney_last_error(), "stored"));
    assert_ok(coney_admin_declare_queue(traffic.admin, &(coney_queue){.name = "stored"}, NULL));
    wait_for_check(container, CONEY_OK);
    assert_ok(coney_template_send(traffic.sender, "stored", message, NULL));
    test_wait_for(&stored_seen, 2);
    coney_container_free(container);
    coney_message_unref(message);
    assert_ok(coney_admin_delete_queue(traffic.admin, "stored", NULL));
    finish();
}

/* --- virtual hosts and users --- */

static void expect_failed(coney_status status, const char *sentence)
{
    wait_for_both(CONEY_CONNECTION_FAILED);
    for (coney_connection_role role = CONEY_CONSUMING; role <= CONEY_PUBLISHING; role++) {
        coney_connection_info info = cny_traffic_info(role);
        assert_int_equal(info.reason, status);
        if (!strstr(info.text, sentence))
            fail_msg("'%s' does not say '%s'", info.text, sentence);
    }
    coney_message *message = test_text("-1");
    coney_queue_info queue;
    int64_t start = cny_now_ms();
    assert_fails(coney_template_send(traffic.sender, "traffic", message, NULL), status, sentence);
    assert_fails(coney_admin_queue_info(traffic.admin, "traffic", &queue), status, sentence);
    test_expect_elapsed(start, 0, 0);
    cny_traffic_wait_for_check(status, PATIENCE_MS);
    coney_message_unref(message);
}

static void connect_again(void)
{
    assert_ok(coney_connection_factory_connect(traffic.factory));
    cny_traffic_wait_for_check(CONEY_OK, PATIENCE_MS);
    cny_traffic_resume();
    finish();
}

static void test_deleted_virtual_host_is_fatal_until_connect(void **state)
{
    (void)state;
    cny_traffic_pause();
    ctl("delete_vhost shop");
    expect_failed(CONEY_E_NOT_ALLOWED, "vhost shop not found");
    assert_fails(coney_connection_factory_connect(traffic.factory), CONEY_E_NOT_ALLOWED, "530");
    wait_for_both(CONEY_CONNECTION_FAILED);
    add_vhost();
    connect_again();
}

static void test_changed_password_is_fatal_until_connect(void **state)
{
    (void)state;
    cny_traffic_pause();
    ctl("change_password carrot beet");
    ctl("close_all_connections --vhost shop 'password changed'");
    expect_failed(CONEY_E_ACCESS_REFUSED, "403");
    ctl("change_password carrot orange");
    connect_again();
}

static coney_status provide(coney_credentials *credentials, void *user)
{
    pthread_mutex_lock(user);
    credentials->user = "carrot";
    credentials->password = password;
    pthread_mutex_unlock(user);
    return CONEY_OK;
}

static pthread_mutex_t password_lock = PTHREAD_MUTEX_INITIALIZER;

static int start_shop_with_provider(void **state)
{
    (void)state;
    password = "orange";
    heal_broker();
    add_vhost();
    cny_traffic_start(shop_uri,
                      &(cny_traffic_options){.factory = {.credentials = provide, .credentials_user = &password_lock}});
    return 0;
}

static void test_provider_that_knows_the_new_password_recovers(void **state)
{
    (void)state;
    ctl("change_password carrot beet");
    pthread_mutex_lock(&password_lock);
    password = "beet";
    pthread_mutex_unlock(&password_lock);
    ctl("close_all_connections --vhost shop 'password changed'");
    expect_recovery();
    ctl("change_password carrot orange");
}

static int start_shop_that_retries(void **state)
{
    (void)state;
    heal_broker();
    add_vhost();
    cny_traffic_start(shop_uri, &(cny_traffic_options){.factory.recovery.retry_refused_login = true});
    return 0;
}

static void test_refused_login_is_retried_when_told_so(void **state)
{
    (void)state;
    ctl("change_password carrot beet");
    ctl("close_all_connections --vhost shop 'password changed'");
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (cny_traffic_info(CONEY_PUBLISHING).attempt < 2 && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).state, CONEY_CONNECTION_CONNECTING);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).reason, CONEY_E_ACCESS_REFUSED);
    ctl("change_password carrot orange");
    expect_recovery();
}

/* ---- a message that is too large ---- */

enum { NEIGHBOURS = 10, LIMIT = 100000, TOO_LARGE = 5 };

static struct {
    atomic_int completed;
    coney_status status[NEIGHBOURS + 1];
} sends;

static void note(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    *(coney_status *)user = error ? error->status : CONEY_OK;
    atomic_fetch_add(&sends.completed, 1);
}

static void send_to_nobody(coney_template *sender, int index, size_t size)
{
    static const char body[LIMIT + 1];
    coney_message *message;
    assert_ok(coney_message_new(&message, body, size, NULL));
    assert_ok(coney_template_send_async(sender, "nobody", message, &(coney_send_options){.drop_unroutable = true}, note,
                                        &sends.status[index]));
    coney_message_unref(message);
}

/* 3.10 reads one of them, 4 the other. */
static void limit_message_size(int bytes)
{
    char command[160];
    snprintf(command, sizeof command,
             "eval 'application:set_env(rabbit, max_message_size, %d), persistent_term:put(max_message_size, %d).'",
             bytes, bytes);
    ctl(command);
}

static void test_message_over_the_brokers_limit_is_refused_and_its_neighbours_are_sent_again(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    coney_template *sender;
    heal_broker();
    limit_message_size(LIMIT);
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
    assert_ok(coney_template_new(&sender, factory, &(coney_template_options){.resend_unconfirmed = true}));
    atomic_store(&sends.completed, 0);
    for (int i = 0; i <= NEIGHBOURS; i++)
        send_to_nobody(sender, i, i == TOO_LARGE ? LIMIT + 1 : LIMIT);
    test_wait_for(&sends.completed, NEIGHBOURS + 1);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    limit_message_size(128 * 1024 * 1024);
    for (int i = 0; i <= NEIGHBOURS; i++)
        assert_int_equal(sends.status[i], i == TOO_LARGE ? CONEY_E_PRECONDITION_FAILED : CONEY_OK);
    sound = true;
}

int main(void)
{
#define across(test) cmocka_unit_test_setup_teardown(test, start_traffic, cny_traffic_teardown)
#define unbroken(test) cmocka_unit_test_setup_teardown(test, start_traffic_with_slow_heartbeats, cny_traffic_teardown)
#define in_shop(test, start) cmocka_unit_test_setup_teardown(test, start, end_shop)
    const struct CMUnitTest tests[] = {
        across(test_killed_and_restarted_broker_loses_nothing),
        across(test_calls_without_a_broker_keep_their_deadlines_and_say_why),
        across(test_container_says_why_it_does_not_consume),
        across(test_frozen_broker_is_noticed_by_heartbeats_and_loses_nothing),
        unbroken(test_broker_that_freezes_shortly_costs_no_connection),
        across(test_stopped_and_started_application_loses_nothing),
        cmocka_unit_test_setup_teardown(test_closed_connections_are_opened_again_and_the_reason_is_the_brokers,
                                        start_traffic_and_listen, cny_traffic_teardown),
        unbroken(test_memory_alarm_blocks_senders_and_no_consumer),
        across(test_broker_killed_during_a_memory_alarm_loses_nothing),
        across(test_consumer_returns_to_a_deleted_queue_when_it_is_there_again),
        unbroken(test_deleted_queue_that_an_admin_knows_is_declared_and_consumed_again),
        cmocka_unit_test(test_message_over_the_brokers_limit_is_refused_and_its_neighbours_are_sent_again),
        in_shop(test_deleted_virtual_host_is_fatal_until_connect, start_shop),
        in_shop(test_changed_password_is_fatal_until_connect, start_shop),
        in_shop(test_provider_that_knows_the_new_password_recovers, start_shop_with_provider),
        in_shop(test_refused_login_is_retried_when_told_so, start_shop_that_retries),
    };
    if (!cny_cluster_is_possible())
        return test_leave_out_all(COUNT_OF(tests), NO_BROKER_TO_BREAK);
    return cmocka_run_group_tests_name("broker", tests, start_broker, stop_broker);
}
