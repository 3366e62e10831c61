/* SPDX-License-Identifier: MIT */
/* Connecting to a real broker, and every way in which that can be asked for wrongly. */
#include "support/test_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The test broker's URI with another piece in place of user:password, or behind the host. */
static const char *uri_with(const char *credentials, const char *behind_host)
{
    static char uri[512];
    const char *given = test_uri();
    const char *host = strrchr(given, '@') ? strrchr(given, '@') + 1 : given + strlen("amqp://");
    snprintf(uri, sizeof uri, "amqp://%s@%.*s%s", credentials, (int)strcspn(host, "/?"), host, behind_host);
    return uri;
}

static coney_status try_to_connect(const char *uri, const coney_connection_factory_options *options)
{
    coney_connection_factory *factory;
    assert_ok(coney_connection_factory_new(&factory, uri, options));
    coney_status status = coney_connection_factory_connect(factory);
    coney_connection_factory_free(factory);
    return status;
}

static void test_connect_opens_both_connections(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_INFO);
    assert_ok(try_to_connect(test_uri(), NULL));
    test_log_expect("publishing connection: open to");
    test_log_expect("consuming connection: open to");
    test_log_stop();
}

/* A "/" at its end is an empty virtual host to other clients, Spring's among them. */
static void test_uri_of_a_private_broker_ends_with_its_port(void **state)
{
    (void)state;
    if (!getenv("CONEY_TEST_BROKER_DIR"))
        test_leave_out(BROKER_IS_NOT_OURS);
    const char *uri = test_uri();
    assert_string_equal(strrchr(uri, ':') + 1 + strspn(strrchr(uri, ':') + 1, "0123456789"), "");
}

static void test_wrong_password_is_refused_without_showing_it(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_DEBUG);
    assert_fails(try_to_connect(uri_with("guest:hush-hush", ""), NULL), CONEY_E_ACCESS_REFUSED, "ACCESS_REFUSED");
    assert_int_equal(coney_last_error_details()->broker_code, 403);
    assert_true(coney_last_error_details()->fatal);
    assert_null(strstr(coney_last_error(), "hush"));
    assert_false(test_log_has("hush"));
    test_log_stop();
}

static void test_missing_vhost_is_named(void **state)
{
    (void)state;
    assert_fails(try_to_connect(uri_with("guest:guest", "/no-such-vhost"), NULL), CONEY_E_NOT_ALLOWED, "no-such-vhost");
    assert_int_equal(coney_last_error_details()->broker_code, 530);
}

static atomic_int times_asked;

static coney_status provide_for_a_second(coney_credentials *credentials, void *user)
{
    (void)user;
    *credentials = (coney_credentials){.user = "guest", .password = "guest", .valid_for_s = 1};
    atomic_fetch_add(&times_asked, 1);
    return CONEY_OK;
}

/* The broker accepts a new secret without a new connection (connection.update-secret). */
static void test_credentials_are_renewed_on_the_open_connection(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    coney_connection_info info;
    const coney_connection_factory_options options = {.credentials = provide_for_a_second};
    atomic_store(&times_asked, 0);
    assert_ok(coney_connection_factory_new(&factory, uri_with("nobody:nothing", ""), &options));
    assert_ok(coney_connection_factory_connect(factory));
    for (int i = 0; i < 5000 && atomic_load(&times_asked) < 6; i++)
        usleep(1000);
    assert_true(atomic_load(&times_asked) >= 6); /* two connections, each renewed twice */
    assert_ok(coney_connection_factory_info(factory, CONEY_CONSUMING, &info));
    assert_int_equal(info.state, CONEY_CONNECTION_OPEN);
    assert_int_equal(info.times_opened, 1);
    coney_connection_factory_free(factory);
}

static void test_refused_port_names_host_and_port(void **state)
{
    (void)state;
    assert_fails(try_to_connect("amqp://127.0.0.1:1", NULL), CONEY_E_CONNECT, "127.0.0.1:1");
    assert_non_null(strstr(coney_last_error(), "Connection refused"));
    assert_true(coney_last_error_details()->retriable);
}

static void test_unknown_host_is_named(void **state)
{
    (void)state;
    assert_fails(try_to_connect("amqp://no-such-host.invalid", NULL), CONEY_E_CONNECT,
                 "cannot resolve host 'no-such-host.invalid'");
}

static void test_host_list_is_tried_in_order(void **state)
{
    (void)state;
    char uri[600];
    const char *at = strrchr(uri_with("guest:guest", ""), '@');
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:1,%s", at + 1);
    assert_ok(try_to_connect(uri, NULL));
}

static void test_options_are_checked(void **state)
{
    (void)state;
    static const struct {
        coney_connection_factory_options options;
        const char *words;
    } wrong[] = {
        {{.connection_timeout_ms = -1}, "connection_timeout_ms -1"},
        {{.close_timeout_ms = -1}, "close_timeout_ms -1"},
        {{.heartbeat_s = 4000}, "heartbeat_s is 4000"},
        {{.frame_max = 100}, "frame_max is 100"},
        {{.frame_max = 1000000}, "frame_max is 1000000"},
        {{.connection_name = "\xff"}, "connection_name is not UTF-8"},
    };
    coney_connection_factory *factory;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(coney_connection_factory_new(&factory, "amqp://h", &wrong[i].options), CONEY_E_INVALID,
                     wrong[i].words);
    assert_fails(coney_connection_factory_new(&factory, "amqp://h:x", NULL), CONEY_E_INVALID, "port");
}

static void test_small_frames_and_no_heartbeat_work(void **state)
{
    (void)state;
    const coney_connection_factory_options options = {.frame_max = 8192, .heartbeat_s = -1};
    coney_connection_factory *factory;
    coney_template *sender;
    coney_message *message = test_pattern(100000); /* many frames */
    assert_ok(coney_connection_factory_new(&factory, test_uri(), &options));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_template_send(sender, "nowhere", message, &(coney_send_options){.drop_unroutable = true}));
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    coney_message_unref(message);
}

static void test_everything_answers_closed_after_the_factory_is_freed(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    coney_template *sender;
    coney_admin *admin;
    coney_container *container;
    coney_queue_info info;
    coney_message *message = test_text("late");
    assert_ok(coney_connection_factory_new(&factory, test_uri(), NULL));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_admin_new(&admin, factory, NULL));
    assert_ok(coney_container_new(&container, factory, NULL));
    assert_int_equal(coney_template_send(sender, "nowhere", message, NULL), CONEY_E_RETURNED);
    coney_connection_factory_free(factory);
    assert_fails(coney_template_send(sender, "nowhere", message, NULL), CONEY_E_CLOSED, "closed");
    assert_fails(coney_admin_queue_info(admin, "q", &info), CONEY_E_CLOSED, "closed");
    coney_container_free(container);
    coney_template_free(sender);
    coney_admin_free(admin);
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_opens_both_connections),
        cmocka_unit_test(test_uri_of_a_private_broker_ends_with_its_port),
        cmocka_unit_test(test_wrong_password_is_refused_without_showing_it),
        cmocka_unit_test(test_missing_vhost_is_named),
        cmocka_unit_test(test_credentials_are_renewed_on_the_open_connection),
        cmocka_unit_test(test_refused_port_names_host_and_port),
        cmocka_unit_test(test_unknown_host_is_named),
        cmocka_unit_test(test_host_list_is_tried_in_order),
        cmocka_unit_test(test_options_are_checked),
        cmocka_unit_test(test_small_frames_and_no_heartbeat_work),
        cmocka_unit_test(test_everything_answers_closed_after_the_factory_is_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
