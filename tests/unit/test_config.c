/* SPDX-License-Identifier: MIT */
/* What a factory makes of its options: checks, defaults, copies. */
#include "rabbit/connection/config.h"
#include "support/test_support.h"

#include <coney/coney.h>

#include <math.h>

static cny_connection_config config;

static coney_status read_config(const char *uri, const coney_connection_factory_options *options)
{
    cny_config_free(&config);
    memset(&config, 0, sizeof config);
    return cny_config_read(&config, uri, options);
}

static coney_status no_credentials(coney_credentials *credentials, void *user)
{
    (void)credentials;
    (void)user;
    return CONEY_OK;
}

static int finish(void **state)
{
    (void)state;
    cny_config_free(&config);
    memset(&config, 0, sizeof config);
    return 0;
}

static void test_options_that_make_no_sense_are_named(void **state)
{
    (void)state;
    static const struct {
        coney_connection_factory_options options;
        const char *words;
    } wrong[] = {
        {{.recovery.first_delay_ms = -1}, "recovery.first_delay_ms is -1"},
        {{.recovery.max_delay_ms = -2}, "recovery.max_delay_ms is -2"},
        {{.recovery.max_attempts = -3}, "recovery.max_attempts is -3"},
        {{.recovery = {.first_delay_ms = 20, .max_delay_ms = 10}}, "recovery.max_delay_ms 10 is below"},
        {{.recovery.multiplier = 0.5}, "recovery.multiplier is 0.5"},
        {{.recovery.multiplier = -1}, "recovery.multiplier is -1"},
        {{.recovery.multiplier = NAN}, "recovery.multiplier is nan"},
        {{.host_order = (coney_host_order)3}, "host_order is 3"},
        {{.sasl = (coney_sasl_mechanism)2}, "sasl is 2"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(read_config("amqp://h", &wrong[i].options), CONEY_E_INVALID, wrong[i].words);
}

static void test_tls_options_that_make_no_sense_are_named(void **state)
{
    (void)state;
    static const struct {
        coney_tls_options tls;
        const char *words;
    } wrong[] = {
        {{.certificate_file = "c"}, "tls.certificate_file is set, but no tls.key_file or tls.key_pem"},
        {{.certificate_pem = "c"}, "tls.certificate_pem is set, but no tls.key_file"},
        {{.key_pem = "k"}, "tls.key_pem is set, but no tls.certificate_file"},
        {{.certificate_file = "c", .certificate_pem = "c", .key_file = "k"},
         "tls.certificate_file and tls.certificate_pem"},
        {{.certificate_file = "c", .key_pem = "k", .key_file = "k"}, "tls.key_file and tls.key_pem"},
        {{.key_passphrase = "hush"}, "tls.key_passphrase is set, but no"},
        {{.crl_file = "l", .dangerously_trust_any_server = true}, "tls.crl_file is set, but tls.dangerously_trust_any"},
        {{.server_name = ""}, "tls.server_name is ''"},
        {{.server_name = ".example"}, "tls.server_name is '.example'"},
        {{.server_name = "\xff"}, "tls.server_name is not UTF-8"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        coney_connection_factory_options options = {.tls = &wrong[i].tls};
        assert_fails(read_config("amqps://h", &options), CONEY_E_INVALID, wrong[i].words);
    }
}

static void test_tls_options_need_an_amqps_uri(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = "ca"};
    assert_fails(read_config("amqp://h", &(coney_connection_factory_options){.tls = &tls}), CONEY_E_INVALID,
                 "write amqps://");
}

static void test_external_needs_tls_and_a_certificate(void **state)
{
    (void)state;
    const coney_tls_options tls = {.certificate_file = "c", .key_file = "k"};
    coney_connection_factory_options options = {.sasl = CONEY_SASL_EXTERNAL};
    assert_fails(read_config("amqp://h", &options), CONEY_E_INVALID, "EXTERNAL, which needs an amqps:// URI");
    assert_fails(read_config("amqps://h", &options), CONEY_E_INVALID, "EXTERNAL, which needs an amqps:// URI");
    options.tls = &tls;
    assert_ok(read_config("amqps://h", &options));
    assert_int_equal(config.sasl, CONEY_SASL_EXTERNAL);
}

static void test_amqps_without_options_means_all_defaults(void **state)
{
    (void)state;
    assert_ok(read_config("amqps://h", &(coney_connection_factory_options){0}));
    assert_non_null(config.tls);
    assert_null(config.tls->ca_file);
    assert_null(config.tls->server_name);
    assert_false(config.tls->dangerously_trust_any_server);
    assert_ok(read_config("amqp://h", &(coney_connection_factory_options){0}));
    assert_null(config.tls);
}

/* ---- passwords in clear ---- */

#define IN_CLEAR "go over the network unencrypted"

static int warnings_of(const char *uri, const coney_connection_factory_options *options)
{
    test_log_start(CONEY_LOG_DEBUG);
    assert_ok(read_config(uri, options));
    test_log_stop();
    assert_false(test_log_has("hush"));
    return test_log_count(IN_CLEAR);
}

static void test_password_in_clear_is_warned_of_once_with_the_host(void **state)
{
    (void)state;
    static const coney_connection_factory_options none;
    static const struct {
        const char *uri, *host;
    } hosts[] = {
        {"amqp://u:hush@broker.example", "password and messages for broker.example:5672 go over"},
        {"amqp://u:hush@localhost,127.0.0.1,one.example:7,two.example", "one.example:7 (and 1 other host) go over"},
        {"amqp://one.example:7,127.0.0.1,two.example,three.example", "for one.example:7 (and 2 other hosts) go over"},
        {"amqp://10.0.0.1", "10.0.0.1"},
        {"amqp://128.0.0.1", "128.0.0.1"},
        {"amqp://127.0.0.1.example", "127.0.0.1.example"},
        {"amqp://localhost.example", "localhost.example"},
        {"amqp://notlocalhost", "notlocalhost"},
        {"amqp://u:hush@[2001:db8::1]:5672", "2001:db8::1"},
        {"amqp://[::ffff:10.0.0.1]", "::ffff:10.0.0.1"},
    };
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        if (warnings_of(hosts[i].uri, &none) != 1)
            fail_msg("%s", hosts[i].uri);
        test_log_expect(hosts[i].host);
        test_log_expect("warn: ");
        test_log_expect("amqps://");
        test_log_expect("trusted_network");
    }
}

static void test_password_that_stays_on_this_host_is_not_warned_of(void **state)
{
    (void)state;
    static const coney_connection_factory_options none;
    static const char *const uris[] = {"amqp://u:hush@localhost",     "amqp://LocalHost,localhost.",
                                       "amqp://broker.localhost",     "amqp://127.0.0.1:7",
                                       "amqp://127.1.2.3,[::1]:5672", "amqp://[0:0:0:0:0:0:0:1]",
                                       "amqp://[::ffff:127.0.0.1]",   "amqps://u:hush@broker.example"};
    for (size_t i = 0; i < COUNT_OF(uris); i++) {
        if (warnings_of(uris[i], &none) != 0)
            fail_msg("%s", uris[i]);
    }
}

static void test_token_of_a_provider_in_clear_is_warned_of(void **state)
{
    (void)state;
    const coney_connection_factory_options options = {.credentials = no_credentials};
    assert_int_equal(warnings_of("amqp://broker.example", &options), 1);
}

static void test_trusted_network_is_not_warned_of(void **state)
{
    (void)state;
    const coney_connection_factory_options options = {.trusted_network = true};
    assert_int_equal(warnings_of("amqp://u:hush@broker.example", &options), 0);
}

static void test_recovery_has_defaults_that_go_with_what_is_given(void **state)
{
    (void)state;
    static const struct {
        coney_recovery_options given;
        int first_delay_ms, max_delay_ms;
    } cases[] = {{{0}, 1000, 5000}, {{.first_delay_ms = 60000}, 60000, 60000}, {{.max_delay_ms = 50}, 50, 50}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_ok(read_config("amqp://h", &(coney_connection_factory_options){.recovery = cases[i].given}));
        assert_int_equal(config.recovery.first_delay_ms, cases[i].first_delay_ms);
        assert_int_equal(config.recovery.max_delay_ms, cases[i].max_delay_ms);
        assert_true(config.recovery.multiplier > 1.9 && config.recovery.multiplier < 2.1);
        assert_int_equal(config.recovery.max_attempts, 0);
    }
}

static void test_texts_and_tables_are_copied(void **state)
{
    (void)state;
    char passphrase[] = "open sesame", name[] = "broker";
    coney_table *properties = coney_table_new();
    assert_ok(coney_table_set_string(properties, "team", "orders"));
    const coney_tls_options tls = {
        .certificate_file = "c", .key_file = "k", .key_passphrase = passphrase, .server_name = name};
    assert_ok(
        read_config("amqps://h", &(coney_connection_factory_options){.tls = &tls, .client_properties = properties}));
    coney_table_free(properties);
    passphrase[0] = name[0] = 'X';
    assert_string_equal(config.tls->key_passphrase, "open sesame");
    assert_string_equal(config.tls->server_name, "broker");
    assert_string_equal(coney_table_get_string(config.client_properties, "team"), "orders");
}

static void test_running_out_of_memory_is_told(void **state)
{
    (void)state;
    const coney_tls_options tls = {.certificate_file = "c", .key_file = "k", .ca_file = "ca"};
    coney_status status = CONEY_E_NO_MEMORY;
    for (int successes = 0; status == CONEY_E_NO_MEMORY; successes++) {
        cny_alloc_fail_after(successes);
        status = read_config("amqps://h", &(coney_connection_factory_options){.tls = &tls});
        cny_alloc_fail_after(-1);
    }
    assert_int_equal(status, CONEY_OK);
}

/* So that nobody goes on with what was there before. */
static void test_what_cannot_be_made_is_null(void **state)
{
    (void)state;
    coney_connection_factory *factory, *no_factory = (void *)&config;
    coney_template *sender, *no_sender = (void *)&config;
    coney_admin *admin = (void *)&config;
    coney_container *container = (void *)&config;
    coney_batching_template *batching = (void *)&config;
    coney_scope *scope = (void *)&config;
    coney_message *message = (void *)&config;
    assert_ok(coney_connection_factory_new(&factory, "amqp://localhost", NULL));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_int_not_equal(coney_connection_factory_new(&no_factory, "http://localhost", NULL), CONEY_OK);
    assert_int_not_equal(coney_template_new(&no_sender, factory, &(coney_template_options){.timeout_ms = -1}),
                         CONEY_OK);
    assert_int_not_equal(coney_admin_new(&admin, factory, &(coney_admin_options){.timeout_ms = -1}), CONEY_OK);
    assert_int_not_equal(coney_container_new(&container, factory, &(coney_container_options){.start_timeout_ms = -1}),
                         CONEY_OK);
    assert_int_not_equal(coney_batching_template_new(&batching, sender, &(coney_batching_options){.batch_size = -1}),
                         CONEY_OK);
    assert_int_not_equal(coney_scope_new(&scope, sender, &(coney_scope_options){.timeout_ms = -1}), CONEY_OK);
    assert_int_not_equal(coney_message_new(&message, NULL, 1, NULL), CONEY_OK);
    assert_true(!no_factory && !no_sender && !admin && !container && !batching && !scope && !message);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_options_that_make_no_sense_are_named, finish),
        cmocka_unit_test_teardown(test_tls_options_that_make_no_sense_are_named, finish),
        cmocka_unit_test_teardown(test_tls_options_need_an_amqps_uri, finish),
        cmocka_unit_test_teardown(test_external_needs_tls_and_a_certificate, finish),
        cmocka_unit_test_teardown(test_amqps_without_options_means_all_defaults, finish),
        cmocka_unit_test_teardown(test_password_in_clear_is_warned_of_once_with_the_host, finish),
        cmocka_unit_test_teardown(test_password_that_stays_on_this_host_is_not_warned_of, finish),
        cmocka_unit_test_teardown(test_token_of_a_provider_in_clear_is_warned_of, finish),
        cmocka_unit_test_teardown(test_trusted_network_is_not_warned_of, finish),
        cmocka_unit_test_teardown(test_recovery_has_defaults_that_go_with_what_is_given, finish),
        cmocka_unit_test_teardown(test_texts_and_tables_are_copied, finish),
        cmocka_unit_test_teardown(test_running_out_of_memory_is_told, finish),
        cmocka_unit_test(test_what_cannot_be_made_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
