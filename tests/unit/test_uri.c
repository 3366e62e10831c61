/* SPDX-License-Identifier: MIT */
/* amqp:// URIs: what they mean, and what is said of those that mean nothing. */
#include "rabbit/connection/uri.h"
#include "support/test_support.h"

static cny_arena arena;

static int start(void **state)
{
    (void)state;
    cny_arena_init(&arena, NULL, 0);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    cny_arena_free(&arena);
    return 0;
}

static void test_what_is_left_out_has_a_default(void **state)
{
    (void)state;
    static const char *const same[] = {"amqp://broker", "AMQP://broker/", "amqp://broker:5672"};
    for (size_t i = 0; i < COUNT_OF(same); i++) {
        cny_uri uri;
        assert_ok(cny_uri_parse(&uri, &arena, same[i]));
        assert_int_equal(uri.host_count, 1);
        assert_string_equal(uri.hosts[0].name, "broker");
        assert_int_equal(uri.hosts[0].port, 5672);
        assert_false(uri.tls);
        assert_string_equal(uri.user, "guest");
        assert_string_equal(uri.password, "guest");
        assert_string_equal(uri.vhost, "/");
        assert_int_equal(uri.heartbeat_s, -1);
        assert_int_equal(uri.connection_timeout_ms, -1);
        assert_int_equal(uri.frame_max, -1);
    }
}

static void test_every_part_is_read(void **state)
{
    (void)state;
    cny_uri uri;
    assert_ok(cny_uri_parse(&uri, &arena,
                            "amqp://us%C3%A9r:p%40ss%3A%2F:x@a:1,b,[::1]:3/v%2fh?heartbeat=0&connection_timeout=250"
                            "&frame_max=8192"));
    assert_string_equal(uri.user, "us\xc3\xa9r");
    assert_string_equal(uri.password, "p@ss:/:x");
    assert_string_equal(uri.vhost, "v/h");
    assert_int_equal(uri.host_count, 3);
    assert_string_equal(uri.hosts[0].name, "a");
    assert_int_equal(uri.hosts[0].port, 1);
    assert_int_equal(uri.hosts[1].port, 5672);
    assert_string_equal(uri.hosts[2].name, "::1");
    assert_int_equal(uri.hosts[2].port, 3);
    assert_int_equal(uri.heartbeat_s, 0);
    assert_int_equal(uri.connection_timeout_ms, 250);
    assert_int_equal(uri.frame_max, 8192);
}

static void test_amqps_means_tls_and_another_port(void **state)
{
    (void)state;
    cny_uri uri;
    assert_ok(cny_uri_parse(&uri, &arena, "AMQPS://a,b:5672,[::1]/v"));
    assert_true(uri.tls);
    assert_int_equal(uri.hosts[0].port, 5671);
    assert_int_equal(uri.hosts[1].port, 5672);
    assert_int_equal(uri.hosts[2].port, 5671);
    assert_string_equal(uri.vhost, "v");
}

static void test_a_bad_uri_is_told_by_its_part(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *words;
    } wrong[] = {
        {NULL, "NULL"},
        {"", "does not begin with amqp:// or amqps://"},
        {"http://h", "does not begin with amqp:// or amqps://"},
        {"amqps://", "a host name is missing"},
        {"amqp://", "a host name is missing"},
        {"amqp://u:p@", "a host name is missing"},
        {"amqp://a,,b", "a host name is missing"},
        {"amqp://h:", "the port of host 'h'"},
        {"amqp://h:0", "the port of host 'h'"},
        {"amqp://h:65536", "the port of host 'h'"},
        {"amqp://h:56 72", "the port of host 'h'"},
        {"amqp://[::1", "begins with ["},
        {"amqp://[::1]5672", "begins with ["},
        {"amqp://h/a/b", "virtual host 'a/b' holds a /"},
        {"amqp://h/%zz", "the virtual host has a %"},
        {"amqp://h/%2", "the virtual host has a %"},
        {"amqp://h/%FF", "the virtual host is not UTF-8"},
        {"amqp://h?heartbeat=soon", "option heartbeat is 'soon'"},
        {"amqp://h?heartbeat=", "option heartbeat is ''"},
        {"amqp://h?heartbeat=99999", "option heartbeat is '99999'"},
        {"amqp://h?frame_max=100", "option frame_max is '100'"},
        {"amqp://h?colour=blue", "there is no option 'colour'"},
        {"amqp://u@h", "there is a user name but no password"},
    };
    cny_uri uri;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(cny_uri_parse(&uri, &arena, wrong[i].uri), CONEY_E_INVALID, wrong[i].words);
}

static void test_no_error_shows_a_password(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "amqp://user:hush%00@h",   "amqp://user:hush%4@h", "amqp://user:hush%+1@h", "amqp://user:hu@sh@h",
        "amqp://user:hush/more@h", "amqp://user:hush",     "amqp://user:hush?x@h",  "amqp://user:hush%FF@h",
        "amqp://user:hush@h:port", "http://user:hush@h",
    };
    cny_uri uri;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(cny_uri_parse(&uri, &arena, wrong[i]), CONEY_E_INVALID);
        assert_null(strstr(coney_last_error(), "hu"));
    }
}

static void test_parts_longer_than_amqp_allows_are_refused(void **state)
{
    (void)state;
    char text[400];
    cny_uri uri;
    memcpy(text, "amqp://h/", 9);
    memset(text + 9, 'v', 256);
    text[9 + 256] = '\0';
    assert_fails(cny_uri_parse(&uri, &arena, text), CONEY_E_INVALID, "the virtual host has 256 bytes");
    text[9 + 255] = '\0';
    assert_ok(cny_uri_parse(&uri, &arena, text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_left_out_has_a_default),
        cmocka_unit_test(test_every_part_is_read),
        cmocka_unit_test(test_amqps_means_tls_and_another_port),
        cmocka_unit_test(test_a_bad_uri_is_told_by_its_part),
        cmocka_unit_test(test_no_error_shows_a_password),
        cmocka_unit_test(test_parts_longer_than_amqp_allows_are_refused),
    };
    return cmocka_run_group_tests(tests, start, finish);
}
