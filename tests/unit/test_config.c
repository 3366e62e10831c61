/* SPDX-License-Identifier: MIT */
/* What a factory makes of its options: checks, defaults, copies. */
#include "rabbit/connection/internal.h"
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
        cmocka_unit_test_teardown(test_recovery_has_defaults_that_go_with_what_is_given, finish),
        cmocka_unit_test_teardown(test_texts_and_tables_are_copied, finish),
        cmocka_unit_test_teardown(test_running_out_of_memory_is_told, finish),
        cmocka_unit_test(test_what_cannot_be_made_is_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
