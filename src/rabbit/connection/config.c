/* SPDX-License-Identifier: MIT */
/* What the program asked of a factory: URI and options, checked, copied, with every default filled
 * in. */
#include "rabbit/connection/config.h"
#include "amqp/amqp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONNECTION_TIMEOUT_MS 10000
#define DEFAULT_CLOSE_TIMEOUT_MS 5000
#define DEFAULT_HEARTBEAT_S 10
#define DEFAULT_FRAME_MAX 131072
#define SMALLEST_FRAME_MAX 4096
#define DEFAULT_MAX_MESSAGE_BYTES ((size_t)64 * 1024 * 1024)
#define DEFAULT_MAX_OUTBOUND_BYTES ((size_t)16 * 1024 * 1024)
#define DEFAULT_MAX_DELAY_MS 5000

/* ---- checks ---- */

static coney_status check_recovery(const coney_recovery_options *recovery)
{
    if (recovery->max_attempts < 0)
        return cny_fail(CONEY_E_INVALID, "recovery.max_attempts is %d, below 0", recovery->max_attempts);
    return cny_backoff_check("recovery", recovery->first_delay_ms, recovery->multiplier, recovery->max_delay_ms);
}

/* A text from a file or from memory. */
typedef struct pair {
    const char *name;
    const char *file;
    const char *pem;
} pair;

static coney_status check_pair(const pair *one, const pair *other)
{
    if (one->file && one->pem)
        return cny_fail(CONEY_E_INVALID, "tls.%s_file and tls.%s_pem are both set", one->name, one->name);
    bool alone = (one->file || one->pem) && !other->file && !other->pem;
    if (alone)
        return cny_fail(CONEY_E_INVALID, "tls.%s_%s is set, but no tls.%s_file or tls.%s_pem", one->name,
                        one->file ? "file" : "pem", other->name, other->name);
    return CONEY_OK;
}

static coney_status check_tls(const coney_tls_options *tls)
{
    const pair certificate = {"certificate", tls->certificate_file, tls->certificate_pem};
    const pair key = {"key", tls->key_file, tls->key_pem};
    coney_status status = check_pair(&certificate, &key);
    if (status == CONEY_OK)
        status = check_pair(&key, &certificate);
    if (status != CONEY_OK)
        return status;
    if (tls->key_passphrase && !tls->key_file && !tls->key_pem)
        return cny_fail(CONEY_E_INVALID, "tls.key_passphrase is set, but no tls.key_file or tls.key_pem");
    if (tls->crl_file && tls->dangerously_trust_any_server)
        return cny_fail(CONEY_E_INVALID, "tls.crl_file is set, but tls.dangerously_trust_any_server checks no "
                                         "certificate");
    if (tls->server_name && (!*tls->server_name || *tls->server_name == '.'))
        return cny_fail(CONEY_E_INVALID, "tls.server_name is '%s', which is no server's name", tls->server_name);
    return cny_check_name("tls.server_name", tls->server_name);
}

/* What only the URI and the options together can get wrong. */
static coney_status check_security(const cny_uri *uri, const coney_connection_factory_options *options)
{
    const coney_tls_options *tls = options->tls;
    if (tls && !uri->tls)
        return cny_fail(CONEY_E_INVALID, "tls options are set, but the URI begins with amqp://, which is without TLS; "
                                         "write amqps://");
    bool certificate = tls && (tls->certificate_file || tls->certificate_pem);
    if (options->sasl == CONEY_SASL_EXTERNAL && !(uri->tls && certificate))
        return cny_fail(CONEY_E_INVALID, "sasl is EXTERNAL, which needs an amqps:// URI and a client certificate "
                                         "(tls.certificate_file)");
    return CONEY_OK;
}

/* By what is written, as nothing is resolved yet: a name that leads here without saying so costs a needless warning. */
static bool is_this_host(const char *name)
{
    struct in_addr four;
    struct in6_addr six;
    size_t size = strlen(name);
    if (inet_aton(name, &four) != 0)
        return ntohl(four.s_addr) >> 24 == IN_LOOPBACKNET;
    if (inet_pton(AF_INET6, name, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == IN_LOOPBACKNET);
    if (size > 0 && name[size - 1] == '.')
        size--;
    static const char local[] = "localhost"; /* and names below it: RFC 6761 */
    size_t length = sizeof local - 1;
    return size >= length && strncasecmp(name + size - length, local, length) == 0 &&
           (size == length || name[size - length - 1] == '.');
}

/* PLAIN is what it says. (EXTERNAL is never without TLS.) */
static void warn_of_password_in_clear(const cny_uri *uri, const coney_connection_factory_options *options)
{
    size_t first = 0, others = 0;
    char more[48] = "";
    if (uri->tls || options->trusted_network)
        return;
    while (first < uri->host_count && is_this_host(uri->hosts[first].name))
        first++;
    if (first == uri->host_count)
        return;
    for (size_t i = first + 1; i < uri->host_count; i++)
        others += !is_this_host(uri->hosts[i].name);
    if (others > 0)
        snprintf(more, sizeof more, " (and %zu other host%s)", others, others == 1 ? "" : "s");
    cny_log(CONEY_LOG_WARN,
            "the password and messages for %s:%d%s go over the network unencrypted, for the URI begins with amqp://; "
            "use amqps://, or set trusted_network if nobody else can listen there",
            uri->hosts[first].name, uri->hosts[first].port, more);
}

static coney_status check_options(const coney_connection_factory_options *options)
{
    if (options->connection_timeout_ms < 0 || options->close_timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "connection_timeout_ms %d or close_timeout_ms %d is below 0",
                        options->connection_timeout_ms, options->close_timeout_ms);
    if (options->heartbeat_s > 3600)
        return cny_fail(CONEY_E_INVALID, "heartbeat_s is %d; 3,600 is the most", options->heartbeat_s);
    bool frame_max_fits = options->frame_max >= SMALLEST_FRAME_MAX && options->frame_max <= DEFAULT_FRAME_MAX;
    if (options->frame_max != 0 && !frame_max_fits)
        return cny_fail(CONEY_E_INVALID, "frame_max is %u; 4,096 to 131,072 are possible", options->frame_max);
    if (options->host_order < CONEY_HOSTS_IN_ORDER || options->host_order > CONEY_HOSTS_SHUFFLE)
        return cny_fail(CONEY_E_INVALID, "host_order is %d, which is no coney_host_order", (int)options->host_order);
    if (options->sasl < CONEY_SASL_PLAIN || options->sasl > CONEY_SASL_EXTERNAL)
        return cny_fail(CONEY_E_INVALID, "sasl is %d, which is no coney_sasl_mechanism", (int)options->sasl);
    coney_status status = check_recovery(&options->recovery);
    if (status == CONEY_OK && options->tls)
        status = check_tls(options->tls);
    return status == CONEY_OK ? cny_check_name("connection_name", options->connection_name) : status;
}

/* ---- copies ---- */

/* "program@host#pid" */
static void default_name(char *name, size_t size)
{
    char host[65];
    if (gethostname(host, sizeof host) != 0)
        memcpy(host, "localhost", sizeof "localhost");
    host[sizeof host - 1] = '\0';
    snprintf(name, size, "%.64s@%s#%ld", program_invocation_short_name, host, (long)getpid());
}

/* As Spring does, the publishing connection's name has a suffix. */
static coney_status set_names(cny_connection_config *config, const char *given)
{
    char name[160], publisher[CNY_MAX_SHORT_STRING + 16], isolated[CNY_MAX_SHORT_STRING + 16];
    if (!given) {
        default_name(name, sizeof name);
        given = name;
    }
    snprintf(publisher, sizeof publisher, "%s.publisher", given);
    snprintf(isolated, sizeof isolated, "%s.isolated", given);
    bool copied = cny_arena_strdup(&config->arena, &config->names[CONEY_CONSUMING], given) &&
                  cny_arena_strdup(&config->arena, &config->names[CONEY_PUBLISHING], publisher) &&
                  cny_arena_strdup(&config->arena, &config->isolated_name, isolated);
    return copied ? CONEY_OK : cny_fail_memory();
}

static coney_status copy_tls(cny_connection_config *config, const coney_tls_options *from)
{
    static const coney_tls_options defaults;
    cny_arena *arena = &config->arena;
    coney_tls_options *to = cny_arena_alloc(arena, sizeof *to);
    if (!from)
        from = &defaults;
    if (!to)
        return cny_fail_memory();
    *to = (coney_tls_options){.dangerously_trust_any_server = from->dangerously_trust_any_server};
    if (to->dangerously_trust_any_server)
        cny_log(CONEY_LOG_WARN, "TLS: whoever answers is trusted (dangerously_trust_any_server)");
    config->tls = to; /* at once: what has been copied is wiped even if the rest fails */
    bool copied = cny_arena_strdup(arena, &to->ca_file, from->ca_file) &&
                  cny_arena_strdup(arena, &to->ca_pem, from->ca_pem) &&
                  cny_arena_strdup(arena, &to->crl_file, from->crl_file) &&
                  cny_arena_strdup(arena, &to->certificate_file, from->certificate_file) &&
                  cny_arena_strdup(arena, &to->certificate_pem, from->certificate_pem) &&
                  cny_arena_strdup(arena, &to->key_file, from->key_file) &&
                  cny_arena_strdup(arena, &to->key_pem, from->key_pem) &&
                  cny_arena_strdup(arena, &to->key_passphrase, from->key_passphrase) &&
                  cny_arena_strdup(arena, &to->server_name, from->server_name);
    return copied ? CONEY_OK : cny_fail_memory();
}

static coney_status copy_rest(cny_connection_config *config, const coney_connection_factory_options *options)
{
    config->host_order = options->host_order;
    config->recovery = options->recovery;
    cny_backoff_set_defaults(&config->recovery.first_delay_ms, &config->recovery.multiplier,
                             &config->recovery.max_delay_ms, DEFAULT_MAX_DELAY_MS);
    config->sasl = options->sasl;
    config->credentials = options->credentials;
    config->credentials_user = options->credentials_user;
    config->on_connection = options->on_connection;
    config->on_channel = options->on_channel;
    config->on_declaration = options->on_declaration;
    config->listener_user = options->listener_user;
    coney_status status = config->uri.tls ? copy_tls(config, options->tls) : CONEY_OK;
    if (status != CONEY_OK || !options->client_properties)
        return status;
    config->client_properties = cny_table_copy(&config->arena, options->client_properties);
    return config->client_properties ? CONEY_OK : cny_fail_memory();
}

/* ---- both ---- */

static int first_set(int a, int b, int fallback, int unset)
{
    if (a != unset)
        return a;
    return b ? b : fallback;
}

coney_status cny_config_read(cny_connection_config *config, const char *uri_text,
                             const coney_connection_factory_options *options)
{
    coney_status status = check_options(options);
    cny_uri *uri = &config->uri;
    if (status == CONEY_OK)
        status = cny_uri_parse(uri, &config->arena, uri_text);
    if (status == CONEY_OK)
        status = check_security(uri, options);
    if (status != CONEY_OK)
        return status;
    uri->connection_timeout_ms =
        first_set(uri->connection_timeout_ms, options->connection_timeout_ms, DEFAULT_CONNECTION_TIMEOUT_MS, -1);
    uri->frame_max = first_set(uri->frame_max, (int)options->frame_max, DEFAULT_FRAME_MAX, -1);
    uri->heartbeat_s = first_set(uri->heartbeat_s, options->heartbeat_s, DEFAULT_HEARTBEAT_S, -1);
    if (uri->heartbeat_s < 0)
        uri->heartbeat_s = 0;
    config->max_message_bytes = options->max_message_bytes ? options->max_message_bytes : DEFAULT_MAX_MESSAGE_BYTES;
    config->max_outbound_bytes = options->max_outbound_bytes ? options->max_outbound_bytes : DEFAULT_MAX_OUTBOUND_BYTES;
    config->close_timeout_ms = options->close_timeout_ms ? options->close_timeout_ms : DEFAULT_CLOSE_TIMEOUT_MS;
    status = copy_rest(config, options);
    if (status == CONEY_OK)
        status = set_names(config, options->connection_name);
    if (status == CONEY_OK)
        warn_of_password_in_clear(uri, options);
    return status;
}

/* In the arena, so ours to write. */
static void wipe(const char *secret)
{
    if (secret)
        explicit_bzero((void *)(uintptr_t)secret, strlen(secret));
}

void cny_config_free(cny_connection_config *config)
{
    wipe(config->uri.password);
    if (config->tls) {
        wipe(config->tls->key_pem);
        wipe(config->tls->key_passphrase);
    }
    cny_arena_free(&config->arena);
}
