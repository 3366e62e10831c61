/* SPDX-License-Identifier: MIT */
/* TLS: to the test broker's TLS port, and to servers whose certificates or demands are wrong. What is wrong
 * must be in the sentence. */
#include "support/elapsed.h"
#include "support/test_support.h"
#include "support/tls_peer.h"
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS = 5000 };

static tls_peer *peer; /* for the teardown */

static int stop_peer(void **state)
{
    (void)state;
    tls_peer_stop(peer);
    peer = NULL;
    return test_no_failed_checks(state);
}

/* ---- what the run provides ---- */

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        test_leave_out(BROKER_IS_NOT_OURS);
    return value;
}

/* A view until the tenth next. */
static const char *certificate(const char *name)
{
    static char paths[10][512];
    static int next;
    char *path = paths[next++ % 10];
    snprintf(path, sizeof paths[0], "%s/%s", from_environment("CONEY_TEST_CERTIFICATES"), name);
    return path;
}

/* Its content, the caller's to free. */
static char *certificate_text(const char *name)
{
    FILE *file = fopen(certificate(name), "re");
    assert_non_null(file);
    char *text = calloc(1, 8192);
    assert_non_null(text);
    assert_true(fread(text, 1, 8191, file) > 0);
    fclose(file);
    return text;
}

static const char *uri_of(const char *scheme, const char *host, int port)
{
    static char uri[256];
    snprintf(uri, sizeof uri, "%s://guest:guest@%s:%d/?connection_timeout=%d", scheme, host, port, CONNECT_MS);
    return uri;
}

static const char *broker_uri(const char *host)
{
    return uri_of("amqps", host, atoi(from_environment("CONEY_TEST_TLS_PORT")));
}

static coney_status try_with(const char *uri, const coney_connection_factory_options *options)
{
    coney_connection_factory *factory;
    assert_ok(coney_connection_factory_new(&factory, uri, options));
    coney_status status = coney_connection_factory_connect(factory);
    coney_connection_factory_free(factory);
    return status;
}

static coney_status try_to_connect(const char *uri, const coney_tls_options *tls)
{
    return try_with(uri, &(coney_connection_factory_options){.tls = tls});
}

/* ---- messages ---- */

static atomic_int received;

static coney_outcome receive(coney_delivery *delivery, void *user)
{
    (void)user;
    check(test_is_pattern(coney_delivery_message(delivery)));
    atomic_fetch_add(&received, 1);
    return CONEY_ACK;
}

/* Sends them without waiting for each, then all are received. */
static void exchange_messages(const char *queue, size_t size, int count)
{
    coney_container *container;
    coney_listener listener = {.queue = queue, .on_message = receive};
    coney_message *message = test_pattern(size);
    atomic_store(&received, 0);
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send_async(client.sender, queue, message, NULL, NULL, NULL));
    assert_ok(coney_template_wait_for_confirms(client.sender, 30000));
    test_wait_for(&received, count);
    coney_container_free(container);
    coney_message_unref(message);
}

static void test_large_and_many_small_messages_cross_tls(void **state)
{
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    const char *queue = test_name("tls");
    assert_ok(coney_connection_factory_new(&client.factory, broker_uri("127.0.0.1"),
                                           &(coney_connection_factory_options){.tls = &tls}));
    assert_ok(coney_admin_new(&client.admin, client.factory, NULL));
    assert_ok(coney_template_new(&client.sender, client.factory, NULL));
    test_make_queue(queue);
    exchange_messages(queue, 10 << 20, 4);
    exchange_messages(queue, 100, 5000);
    static const size_t around_records[] = {0, 1, 16383, 16384, 16385, 131064, 131065};
    for (size_t i = 0; i < COUNT_OF(around_records); i++)
        exchange_messages(queue, around_records[i], 20);
    test_delete_queue(queue);
    test_client_teardown(state);
}

/* ---- the server's name ---- */

static void test_certificate_is_matched_by_name_and_by_address(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    assert_ok(try_to_connect(broker_uri("localhost"), &tls));
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
}

static void test_server_name_is_verified_instead_of_the_host(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = certificate("ca.pem"), .server_name = "localhost"};
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
    tls.server_name = "elsewhere.example";
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "'elsewhere.example' is wanted, it is for DNS:localhost, IP Address:127.0.0.1");
    tls.server_name = "127.0.0.2";
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "'127.0.0.2' is wanted");
}

static const char *peer_with(const char *server_certificate, const char *authority, int newest_version)
{
    tls_peer_options options = {.certificate = certificate(server_certificate),
                                .key = certificate("server.key"),
                                .authority = authority ? certificate(authority) : NULL,
                                .newest_version = newest_version};
    peer = tls_peer_start(&options);
    return uri_of("amqps", "127.0.0.1", tls_peer_port(peer));
}

/* The peer hangs up after the handshake, which is what an accepted certificate looks like there. */
static void expect_handshake(const char *uri, const coney_tls_options *tls)
{
    assert_fails(try_to_connect(uri, tls), CONEY_E_CONNECT, "closed the connection during login");
}

static void expect_announced(const char *host, const char *server_name, const char *announced)
{
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"), .server_name = server_name};
    peer_with("server.pem", NULL, 0);
    expect_handshake(uri_of("amqps", host, tls_peer_port(peer)), &tls);
    assert_true(tls_peer_count_announced(peer, announced) > 0);
    assert_int_equal(tls_peer_count_announced(peer, announced ? NULL : host), 0);
}

static void test_host_name_is_announced(void **state)
{
    (void)state;
    expect_announced("localhost", NULL, "localhost");
}

static void test_address_is_not_announced(void **state)
{
    (void)state;
    expect_announced("127.0.0.1", NULL, NULL);
}

static void test_server_name_is_announced_instead_of_an_address(void **state)
{
    (void)state;
    expect_announced("127.0.0.1", "localhost", "localhost");
}

static void test_server_name_that_is_an_address_is_not_announced(void **state)
{
    (void)state;
    expect_announced("localhost", "127.0.0.1", NULL);
}

/* 127.1 is 127.0.0.1, which the certificate is for, and no name that a server could have. */
static void test_short_address_is_verified_and_not_announced(void **state)
{
    (void)state;
    expect_announced("127.1", NULL, NULL);
}

static void test_address_with_a_zone_is_not_announced(void **state)
{
    (void)state;
    const coney_tls_options tls = {.server_name = "fe80::1%lo", .dangerously_trust_any_server = true};
    peer_with("server.pem", NULL, 0);
    expect_handshake(uri_of("amqps", "localhost", tls_peer_port(peer)), &tls);
    assert_true(tls_peer_count_announced(peer, NULL) > 0);
}

/* ---- whom we trust ---- */

/* What OpenSSL takes for the system's authorities, if nothing else is said. */
static void make_system_authority(const char *name)
{
    assert_int_equal(setenv("SSL_CERT_FILE", certificate(name), 1), 0); /* NOLINT(concurrency-mt-unsafe): no factory */
}

static int forget_system_authority(void **state)
{
    unsetenv("SSL_CERT_FILE"); /* NOLINT(concurrency-mt-unsafe): the factory is gone */
    return stop_peer(state);
}

static void test_system_authorities_are_trusted_if_none_is_named(void **state)
{
    (void)state;
    const char *uri = peer_with("server.pem", NULL, 0);
    assert_fails(try_to_connect(uri, NULL), CONEY_E_CONNECT, "is not trusted; see ca_file");
    make_system_authority("ca.pem");
    expect_handshake(uri, NULL);
}

static void test_system_authorities_do_not_count_beside_those_that_are_named(void **state)
{
    (void)state;
    const char *uri = peer_with("server.pem", NULL, 0);
    make_system_authority("ca.pem");
    assert_fails(try_to_connect(uri, &(coney_tls_options){.ca_file = certificate("stranger.pem")}), CONEY_E_CONNECT,
                 "CN=Coney test CA");
}

static void test_certificate_of_another_host_is_not_accepted(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    assert_fails(try_to_connect(peer_with("elsewhere.pem", NULL, 0), &tls), CONEY_E_CONNECT,
                 "'127.0.0.1' is wanted, it is for DNS:elsewhere.example");
    assert_true(coney_last_error_details()->retriable);
}

static void test_name_in_the_subject_alone_does_not_count(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"), .server_name = "localhost"};
    assert_fails(try_to_connect(peer_with("unnamed.pem", NULL, 0), &tls), CONEY_E_CONNECT, "'localhost' is wanted");
}

static void test_expired_certificate_is_not_accepted_and_its_end_is_told(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    assert_fails(try_to_connect(peer_with("expired.pem", NULL, 0), &tls), CONEY_E_CONNECT,
                 "the server's certificate (CN=expired,O=Coney) was not accepted: certificate has expired (notAfter ");
}

static void test_certificate_of_an_unknown_authority_names_its_issuer(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("stranger.pem")};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "CN=Coney test CA");
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), NULL), CONEY_E_CONNECT, "is not trusted; see ca_file");
}

static void test_certificate_authorities_add_up(void **state)
{
    (void)state;
    char *pem = certificate_text("ca.pem");
    const coney_tls_options tls = {.ca_file = certificate("stranger.pem"), .ca_pem = pem};
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
    free(pem);
}

static void test_any_server_is_trusted_if_that_is_asked_for(void **state)
{
    (void)state;
    const coney_tls_options tls = {.dangerously_trust_any_server = true, .server_name = "elsewhere.example"};
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
}

static void test_files_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = "/no/such/file"};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "cannot read ca_file '/no/such/file': No such file");
    tls.ca_file = certificate("ca.key");
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "holds no certificate in PEM");
    tls = (coney_tls_options){.ca_pem = "nonsense"};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "ca_pem holds no certificate");
}

static void write_copy(const char *path, const char *name)
{
    char *text = certificate_text(name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    free(text);
}

static void append(const char *path, const char *text)
{
    FILE *file = fopen(path, "ae");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* What stands behind the damage would be missed silently. */
static void test_file_with_a_damaged_certificate_behind_a_good_one_is_refused(void **state)
{
    (void)state;
    const char *uri = broker_uri("127.0.0.1");
    char path[] = "/tmp/coney-test-ca.XXXXXX";
    close(mkstemp(path));
    write_copy(path, "ca.pem");
    const coney_tls_options tls = {.ca_file = path};
    coney_status good = try_to_connect(uri, &tls);
    append(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    coney_status damaged = try_to_connect(uri, &tls);
    const char *sentence = strstr(coney_last_error(), "holds a certificate that cannot be read");
    unlink(path);
    assert_int_equal(good, CONEY_OK);
    assert_int_equal(damaged, CONEY_E_CONNECT);
    assert_non_null(sentence);
}

static void test_renewed_file_counts_for_the_next_connection(void **state)
{
    (void)state;
    const char *uri = broker_uri("127.0.0.1");
    char path[] = "/tmp/coney-test-ca.XXXXXX";
    close(mkstemp(path));
    write_copy(path, "stranger.pem");
    coney_connection_factory *factory;
    const coney_tls_options tls = {.ca_file = path};
    assert_ok(coney_connection_factory_new(&factory, uri, &(coney_connection_factory_options){.tls = &tls}));
    assert_int_equal(coney_connection_factory_connect(factory), CONEY_E_CONNECT);
    write_copy(path, "ca.pem");
    coney_status status = coney_connection_factory_connect(factory);
    for (int i = 0; i < 5 && status == CONEY_E_CONNECT; i++) /* an attempt of before may have been under way */
        status = coney_connection_factory_connect(factory);
    assert_int_equal(status, CONEY_OK);
    coney_connection_factory_free(factory);
    unlink(path);
}

/* ---- revocation ---- */

/* A file with both lists, for the test to unlink. */
static void join(char *path, const char *one, const char *other)
{
    close(mkstemp(path));
    write_copy(path, one);
    char *text = certificate_text(other);
    append(path, text);
    free(text);
}

static void test_certificate_that_is_not_revoked_is_accepted(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"), .crl_file = certificate("ca.crl")};
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
}

static void test_revoked_certificate_is_not_accepted(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    const char *uri = peer_with("revoked.pem", NULL, 0);
    expect_handshake(uri, &tls);
    tls.crl_file = certificate("ca.crl");
    assert_fails(try_to_connect(uri, &tls), CONEY_E_CONNECT,
                 "the server's certificate (CN=revoked,O=Coney) was not accepted: certificate revoked (by the list of "
                 "CN=Coney test CA,O=Coney in crl_file)");
    assert_true(coney_last_error_details()->retriable);
    assert_false(coney_last_error_details()->fatal);
}

static void test_revoked_authority_of_the_chain_is_not_accepted(void **state)
{
    (void)state;
    char path[] = "/tmp/coney-test-crl.XXXXXX";
    const char *uri = peer_with("below.pem", NULL, 0);
    join(path, "no-middle.crl", "middle.crl");
    coney_status status = try_to_connect(uri, &(coney_tls_options){.ca_file = certificate("ca.pem"), .crl_file = path});
    unlink(path);
    assert_fails(status, CONEY_E_CONNECT,
                 "a certificate of the server's chain (CN=Coney test CA below,O=Coney) was not accepted: certificate "
                 "revoked");
}

static void test_list_that_another_key_has_signed_says_so(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"), .crl_file = certificate("namesake.crl")};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "(the list of CN=Coney test CA,O=Coney in crl_file was not signed by that authority's key in ca_file; "
                 "is one of the two files old?)");
}

static void test_every_authority_of_the_chain_needs_a_list(void **state)
{
    (void)state;
    char path[] = "/tmp/coney-test-crl.XXXXXX";
    const char *uri = peer_with("below.pem", NULL, 0);
    coney_tls_options tls = {.ca_file = certificate("ca.pem"), .crl_file = certificate("ca.crl")};
    assert_fails(try_to_connect(uri, &tls), CONEY_E_CONNECT,
                 "(its issuer CN=Coney test CA below,O=Coney has no list in crl_file)");
    tls.crl_file = certificate("middle.crl");
    assert_fails(try_to_connect(uri, &tls), CONEY_E_CONNECT,
                 "(its issuer CN=Coney test CA,O=Coney has no list in crl_file)");
    join(path, "ca.crl", "middle.crl");
    tls.crl_file = path;
    coney_status status = try_to_connect(uri, &tls);
    const char *after_handshake = strstr(coney_last_error(), "closed the connection during login");
    unlink(path);
    assert_int_equal(status, CONEY_E_CONNECT);
    assert_non_null(after_handshake);
}

static void test_authority_that_is_trusted_by_name_needs_no_list(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = certificate("middle.pem"), .crl_file = certificate("middle.crl")};
    expect_handshake(peer_with("below.pem", NULL, 0), &tls);
}

static void test_list_that_is_over_says_so_and_a_renewed_one_counts(void **state)
{
    (void)state;
    const char *uri = broker_uri("127.0.0.1");
    char path[] = "/tmp/coney-test-crl.XXXXXX";
    close(mkstemp(path));
    write_copy(path, "over.crl");
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"), .crl_file = path};
    coney_status over = try_to_connect(uri, &tls);
    bool told = strstr(coney_last_error(), "CRL has expired (nextUpdate ") &&
                strstr(coney_last_error(), "; the list of CN=Coney test CA,O=Coney in crl_file must be renewed)");
    if (!told)
        print_error("%s\n", coney_last_error());
    write_copy(path, "ca.crl");
    coney_status renewed = try_to_connect(uri, &tls);
    unlink(path);
    assert_int_equal(over, CONEY_E_CONNECT);
    assert_true(told);
    assert_int_equal(renewed, CONEY_OK);
}

static void test_revocation_lists_that_cannot_be_used_are_named(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = certificate("ca.pem"), .crl_file = "/no/such/list"};
    const char *uri = broker_uri("127.0.0.1");
    assert_fails(try_to_connect(uri, &tls), CONEY_E_CONNECT, "cannot read crl_file '/no/such/list': No such file");
    tls.crl_file = certificate("ca.pem");
    assert_fails(try_to_connect(uri, &tls), CONEY_E_CONNECT,
                 "holds no revocation list in PEM (if it is DER: openssl crl -inform DER -in FILE)");
    char path[] = "/tmp/coney-test-crl.XXXXXX";
    close(mkstemp(path));
    write_copy(path, "ca.crl");
    append(path, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    tls.crl_file = path;
    coney_status damaged = try_to_connect(uri, &tls);
    const char *sentence = strstr(coney_last_error(), "holds a revocation list that cannot be read");
    unlink(path);
    assert_int_equal(damaged, CONEY_E_CONNECT);
    assert_non_null(sentence);
}

/* ---- the client's certificate ---- */

static void rabbitmqctl(const char *command)
{
    char line[600];
    snprintf(line, sizeof line, "%s --quiet %s >/dev/null 2>&1", from_environment("CONEY_TEST_RABBITMQCTL"), command);
    assert_int_equal(system(line), 0); /* NOLINT(bugprone-command-processor,concurrency-mt-unsafe): a test's own */
}

static coney_status connect_external(const coney_tls_options *tls)
{
    coney_connection_factory_options options = {.tls = tls, .sasl = CONEY_SASL_EXTERNAL};
    return try_with(broker_uri("127.0.0.1"), &options);
}

static void test_certificate_logs_in_its_user(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"),
                                   .certificate_file = certificate("client.pem"),
                                   .key_file = certificate("client.key")};
    assert_fails(connect_external(&tls), CONEY_E_ACCESS_REFUSED, "refuses the client's certificate");
    rabbitmqctl("add_user coney-client no-password-is-used");
    rabbitmqctl("set_permissions coney-client '.*' '.*' '.*'");
    coney_status status = connect_external(&tls);
    rabbitmqctl("delete_user coney-client");
    assert_int_equal(status, CONEY_OK);
}

static void test_client_certificate_may_come_from_memory_and_its_key_be_encrypted(void **state)
{
    (void)state;
    char *ca = certificate_text("ca.pem"), *client_pem = certificate_text("client.pem");
    char *key = certificate_text("locked.key");
    coney_tls_options tls = {.ca_pem = ca, .certificate_pem = client_pem, .key_pem = key};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "key_pem is encrypted, and there is no key_passphrase");
    tls.key_passphrase = "open barley";
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "key_pem cannot be decrypted with key_passphrase");
    assert_null(strstr(coney_last_error(), "barley"));
    tls.key_passphrase = "open sesame";
    assert_ok(try_to_connect(broker_uri("127.0.0.1"), &tls));
    free(ca);
    free(client_pem);
    free(key);
}

static void test_key_of_another_certificate_is_told(void **state)
{
    (void)state;
    coney_tls_options tls = {.ca_file = certificate("ca.pem"),
                             .certificate_file = certificate("client.pem"),
                             .key_file = certificate("server.key")};
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT,
                 "does not belong to the client's certificate");
    tls.key_file = certificate("client.pem");
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "holds no private key in PEM");
    tls.certificate_file = certificate("client.key");
    assert_fails(try_to_connect(broker_uri("127.0.0.1"), &tls), CONEY_E_CONNECT, "holds no certificate in PEM");
}

static void test_server_that_requires_a_client_certificate_says_so(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    assert_fails(try_to_connect(peer_with("server.pem", "ca.pem", 0), &tls), CONEY_E_CONNECT,
                 "requires a client certificate");
    tls_peer_stop(peer);
    assert_fails(try_to_connect(peer_with("server.pem", "ca.pem", TLS1_2_VERSION), &tls), CONEY_E_CONNECT,
                 "may require a client certificate");
}

static void test_server_that_does_not_know_our_authority_says_so(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem"),
                                   .certificate_file = certificate("client.pem"),
                                   .key_file = certificate("client.key")};
    assert_fails(try_to_connect(peer_with("server.pem", "stranger.pem", 0), &tls), CONEY_E_CONNECT,
                 "does not accept the client's certificate");
}

/* ---- other languages and silence ---- */

static void test_plain_port_does_not_speak_tls(void **state)
{
    (void)state;
    const char *colon = strrchr(test_uri(), ':');
    from_environment("CONEY_TEST_TLS_PORT");
    assert_fails(try_to_connect(uri_of("amqps", "127.0.0.1", atoi(colon + 1)), NULL), CONEY_E_CONNECT,
                 "the server does not speak TLS; is it a port for amqp:// or HTTP?");
}

static void test_tls_port_does_not_speak_plain_amqp(void **state)
{
    (void)state;
    const char *uri = uri_of("amqp", "127.0.0.1", atoi(from_environment("CONEY_TEST_TLS_PORT")));
    assert_fails(try_to_connect(uri, NULL), CONEY_E_PROTOCOL, "it speaks TLS; the URI must begin with amqps://");
}

static void test_server_that_only_knows_old_tls_is_refused(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    assert_fails(try_to_connect(peer_with("server.pem", NULL, TLS1_1_VERSION), &tls), CONEY_E_CONNECT,
                 "does not speak TLS 1.2 or newer");
}

static void test_server_that_hangs_up_after_the_handshake_is_no_connection(void **state)
{
    (void)state;
    const coney_tls_options tls = {.ca_file = certificate("ca.pem")};
    expect_handshake(peer_with("server.pem", NULL, 0), &tls);
    assert_non_null(strstr(coney_last_error(), "during login: the broker closed the connection without a word"));
}

/* Under the connection: how it comes to a write before the words are read is a matter of chance there. */
static cny_wire *wire_to(int port)
{
    const coney_tls_options tls = {.dangerously_trust_any_server = true};
    const cny_wire_target target = {.host = "127.0.0.1", .port = port, .timeout_ms = CONNECT_MS, .tls = &tls};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cny_wire *wire = cny_wire_new();
    assert_non_null(wire);
    wire->input_size = 1000;
    wire->input = cny_alloc(wire->input_size);
    wire->socket = cny_descriptor_of(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(wire->socket.fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(wire->socket.fd, F_SETFL, O_NONBLOCK), 0);
    assert_ok(cny_tls_open(wire, &target, cny_deadline(CONNECT_MS)));
    return wire;
}

static void test_last_words_are_read_after_a_write_has_failed(void **state)
{
    (void)state;
    size_t size;
    const tls_peer_options options = {
        .certificate = certificate("server.pem"), .key = certificate("server.key"), .last_words = "farewell"};
    peer = tls_peer_start(&options);
    cny_wire *wire = wire_to(tls_peer_port(peer));
    struct pollfd reset = {.fd = wire->socket.fd};
    assert_int_equal(poll(&reset, 1, CONNECT_MS), 1); /* only errors count */
    coney_status write_status = cny_wire_write(wire, (const uint8_t *)"hello", 5, &size);
    coney_status read_status = cny_wire_read(wire, &size);
    bool is_farewell = size == 8 && memcmp(wire->input, "farewell", 8) == 0;
    cny_wire_free(wire);
    assert_int_equal(write_status, CONEY_E_LOST);
    assert_int_equal(read_status, CONEY_OK);
    assert_true(is_farewell);
}

static void test_silent_server_times_out_in_the_handshake(void **state)
{
    (void)state;
    peer = tls_peer_start(&(tls_peer_options){0});
    const coney_connection_factory_options impatient = {.connection_timeout_ms = 300};
    char uri[100];
    snprintf(uri, sizeof uri, "amqps://127.0.0.1:%d", tls_peer_port(peer));
    int64_t began = cny_now_ms();
    assert_fails(try_with(uri, &impatient), CONEY_E_TIMEOUT, "did not finish the TLS handshake within 300 ms");
    test_expect_elapsed(began, 250, 300);
}

static void test_free_ends_a_handshake_at_once(void **state)
{
    (void)state;
    peer = tls_peer_start(&(tls_peer_options){0});
    coney_connection_factory *factory;
    coney_template *sender;
    coney_message *message = test_text("never sent");
    assert_ok(coney_connection_factory_new(&factory, uri_of("amqps", "127.0.0.1", tls_peer_port(peer)), NULL));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_int_equal(coney_template_send(sender, "q", message, &(coney_send_options){.timeout_ms = 100}),
                     CONEY_E_CONNECT);
    coney_template_free(sender);
    int64_t began = cny_now_ms();
    coney_connection_factory_free(factory);
    test_expect_elapsed(began, 0, 0); /* not the five seconds of the connection timeout */
    coney_message_unref(message);
}

#define tls_test(function) cmocka_unit_test_teardown(function, stop_peer)
#define system_test(function) cmocka_unit_test_teardown(function, forget_system_authority)

int main(void)
{
    const struct CMUnitTest tests[] = {
        tls_test(test_large_and_many_small_messages_cross_tls),
        tls_test(test_certificate_is_matched_by_name_and_by_address),
        tls_test(test_server_name_is_verified_instead_of_the_host),
        tls_test(test_host_name_is_announced),
        tls_test(test_address_is_not_announced),
        tls_test(test_server_name_is_announced_instead_of_an_address),
        tls_test(test_server_name_that_is_an_address_is_not_announced),
        tls_test(test_short_address_is_verified_and_not_announced),
        tls_test(test_address_with_a_zone_is_not_announced),
        system_test(test_system_authorities_are_trusted_if_none_is_named),
        system_test(test_system_authorities_do_not_count_beside_those_that_are_named),
        tls_test(test_certificate_of_another_host_is_not_accepted),
        tls_test(test_name_in_the_subject_alone_does_not_count),
        tls_test(test_expired_certificate_is_not_accepted_and_its_end_is_told),
        tls_test(test_certificate_of_an_unknown_authority_names_its_issuer),
        tls_test(test_certificate_authorities_add_up),
        tls_test(test_any_server_is_trusted_if_that_is_asked_for),
        tls_test(test_files_that_cannot_be_used_are_named),
        tls_test(test_file_with_a_damaged_certificate_behind_a_good_one_is_refused),
        tls_test(test_renewed_file_counts_for_the_next_connection),
        tls_test(test_certificate_that_is_not_revoked_is_accepted),
        tls_test(test_revoked_certificate_is_not_accepted),
        tls_test(test_revoked_authority_of_the_chain_is_not_accepted),
        tls_test(test_every_authority_of_the_chain_needs_a_list),
        tls_test(test_authority_that_is_trusted_by_name_needs_no_list),
        tls_test(test_list_that_another_key_has_signed_says_so),
        tls_test(test_list_that_is_over_says_so_and_a_renewed_one_counts),
        tls_test(test_revocation_lists_that_cannot_be_used_are_named),
        tls_test(test_certificate_logs_in_its_user),
        tls_test(test_client_certificate_may_come_from_memory_and_its_key_be_encrypted),
        tls_test(test_key_of_another_certificate_is_told),
        tls_test(test_server_that_requires_a_client_certificate_says_so),
        tls_test(test_server_that_does_not_know_our_authority_says_so),
        tls_test(test_plain_port_does_not_speak_tls),
        tls_test(test_tls_port_does_not_speak_plain_amqp),
        tls_test(test_server_that_only_knows_old_tls_is_refused),
        tls_test(test_server_that_hangs_up_after_the_handshake_is_no_connection),
        tls_test(test_last_words_are_read_after_a_write_has_failed),
        tls_test(test_silent_server_times_out_in_the_handshake),
        tls_test(test_free_ends_a_handshake_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
