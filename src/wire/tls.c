/* SPDX-License-Identifier: MIT */
/* TLS under a wire: the only file that knows OpenSSL. I/O thread only.
 *
 * OpenSSL initialises and locks itself since 1.1.0, and each connection has a context of its own, so there
 * is no state of ours to share. It writes with write(), which raises SIGPIPE where the peer is gone: the
 * I/O thread blocks that signal, so it stays pending and ends with the thread. */
#include "wire/tls.h"

#include "wire/rabbitmq_c.h"

#include <errno.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

struct cny_tls {
    SSL_CTX *context;
    SSL *ssl;
    const char *name;    /* that the server must prove; only while connecting */
    bool usable;         /* shaken hands, and nothing has failed since */
    cny_error *failure;  /* of a read that had got something first: for the next one to tell */
    char objection[512]; /* to a certificate of the server's, "" if there is none */
};

/* ---- words for what went wrong ---- */

/* The first thing that OpenSSL noted is the cause, what follows tells only where it passed. */
static unsigned long take_cause(void)
{
    unsigned long cause = ERR_get_error();
    ERR_clear_error();
    return cause;
}

static const char *reason_of(unsigned long cause)
{
    const char *reason = cause != 0 ? ERR_reason_error_string(cause) : NULL;
    return reason ? reason : "OpenSSL gives no reason";
}

/* Copies what the BIO holds, and frees it. */
static void take_text(BIO *bio, char *text, size_t size)
{
    char *data = NULL;
    long length = bio ? BIO_get_mem_data(bio, &data) : 0;
    size_t count = length > 0 ? (size_t)length : 0;
    if (count > size - 1)
        count = size - 1;
    if (count > 0)
        memcpy(text, data, count);
    text[count] = '\0';
    BIO_free(bio);
}

static void print_name(BIO *to, const X509_NAME *name)
{
    if (X509_NAME_entry_count(name) == 0)
        BIO_puts(to, "nameless");
    else
        X509_NAME_print_ex(to, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
}

static void print_alternative_names(BIO *to, X509 *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (sk_GENERAL_NAME_num(names) <= 0)
        BIO_puts(to, "no subjectAltName, and the subject does not count");
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        BIO_puts(to, i > 0 ? ", " : "");
        GENERAL_NAME_print(to, sk_GENERAL_NAME_value(names, i));
    }
    GENERAL_NAMES_free(names);
}

/* What helps to find the fault with a revocation list; false if the error is none of these. */
static bool print_revocation(BIO *to, X509_STORE_CTX *store, X509 *certificate, int error)
{
    const X509_CRL *list = X509_STORE_CTX_get0_current_crl(store);
    switch (error) {
    case X509_V_ERR_CERT_REVOKED: BIO_puts(to, " (by the list of "); break;
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
        if (!list)
            return false;
        BIO_puts(to, error == X509_V_ERR_CRL_HAS_EXPIRED ? " (nextUpdate " : " (lastUpdate ");
        ASN1_TIME_print(to, error == X509_V_ERR_CRL_HAS_EXPIRED ? X509_CRL_get0_nextUpdate(list)
                                                                : X509_CRL_get0_lastUpdate(list));
        BIO_puts(to, "; the list of ");
        break;
    case X509_V_ERR_UNABLE_TO_GET_CRL: BIO_puts(to, " (its issuer "); break;
    case X509_V_ERR_CRL_SIGNATURE_FAILURE: BIO_puts(to, " (the list of "); break;
    default: return false;
    }
    print_name(to, X509_get_issuer_name(certificate));
    BIO_puts(to, error == X509_V_ERR_UNABLE_TO_GET_CRL ? " has no list in crl_file)"
                 : error == X509_V_ERR_CERT_REVOKED    ? " in crl_file)"
                 : error == X509_V_ERR_CRL_SIGNATURE_FAILURE
                     ? " in crl_file was not signed by that authority's key in ca_file; is one of the two files old?)"
                     : " in crl_file must be renewed)");
    return true;
}

/* What helps to find the fault, beyond OpenSSL's words for it. */
static void print_details(BIO *to, const cny_tls *tls, X509 *certificate, int error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        BIO_puts(to, " (notAfter ");
        ASN1_TIME_print(to, X509_get0_notAfter(certificate));
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        BIO_puts(to, " (notBefore ");
        ASN1_TIME_print(to, X509_get0_notBefore(certificate));
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        BIO_printf(to, " ('%s' is wanted, it is for ", tls->name);
        print_alternative_names(to, certificate);
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        BIO_puts(to, " (its issuer ");
        print_name(to, X509_get_issuer_name(certificate));
        BIO_puts(to, " is not trusted; see ca_file");
        break;
    default: return;
    }
    BIO_puts(to, ")");
}

/* A certificate that the program names in ca_file is trusted without a list. OpenSSL wants a list for the last
 * certificate of a chain, too, even if the program knows nobody who could have issued one. */
static bool is_trusted_without_a_list(X509_STORE_CTX *store)
{
    int error = X509_STORE_CTX_get_error(store);
    bool is_missing = error == X509_V_ERR_UNABLE_TO_GET_CRL || error == X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER;
    return is_missing && X509_STORE_CTX_get_error_depth(store) == sk_X509_num(X509_STORE_CTX_get0_chain(store)) - 1;
}

/* OpenSSL's verification found something. Notes the first objection, and does not change what OpenSSL decides. */
static int note_objection(int accepted, X509_STORE_CTX *store)
{
    if (!accepted && is_trusted_without_a_list(store)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    cny_tls *tls = SSL_get_app_data(ssl);
    X509 *certificate = X509_STORE_CTX_get_current_cert(store);
    BIO *text = accepted || *tls->objection || !certificate ? NULL : BIO_new(BIO_s_mem());
    if (!text)
        return accepted;
    int error = X509_STORE_CTX_get_error(store);
    BIO_puts(text, X509_STORE_CTX_get_error_depth(store) == 0 ? "the server's certificate ("
                                                              : "a certificate of the server's chain (");
    print_name(text, X509_get_subject_name(certificate));
    BIO_printf(text, ") was not accepted: %s", X509_verify_cert_error_string(error));
    if (!print_revocation(text, store, certificate, error))
        print_details(text, tls, certificate, error);
    take_text(text, tls->objection, sizeof tls->objection);
    return accepted;
}

/* What the usual failures mean to those who configure them. */
static const char *meaning_of(unsigned long cause)
{
    if (ERR_GET_LIB(cause) != ERR_LIB_SSL)
        return "TLS failed";
    switch (ERR_GET_REASON(cause)) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG: return "the server does not speak TLS; is it a port for amqp:// or HTTP?";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "the server does not speak TLS 1.2 or newer";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the server requires a client certificate; see certificate_file";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
        return "the server refuses the handshake; it may require a client certificate (certificate_file)";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN: return "the server does not accept the client's certificate";
    default: return "TLS failed";
    }
}

static bool is_end_of_stream(unsigned long cause)
{
#ifdef SSL_R_UNEXPECTED_EOF_WHILE_READING /* OpenSSL 3; before, a system call that failed without errno */
    return ERR_GET_LIB(cause) == ERR_LIB_SSL && ERR_GET_REASON(cause) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
#else
    (void)cause;
    return false;
#endif
}

/* For a result of SSL_get_error() that is not about waiting; CONEY_E_CONNECT in the handshake, CONEY_E_LOST later. */
static coney_status fail_io(cny_tls *tls, coney_status status, const char *doing, int problem, int error_number)
{
    unsigned long cause = take_cause();
    tls->usable = false;
    if (problem == SSL_ERROR_SSL && !is_end_of_stream(cause))
        return cny_fail(status, "%s (%s)", meaning_of(cause), reason_of(cause));
    const char *hint = status == CONEY_E_CONNECT ? "; is it a port for TLS?" : "";
    if (problem == SSL_ERROR_SYSCALL && error_number != 0)
        return cny_fail(status, "%s failed: %s%s", doing, cny_errno_text(error_number), hint);
    return cny_fail(status, "the broker closed the connection without a word%s", hint);
}

/* ---- certificates and keys ---- */

/* Where something in PEM comes from, for reading and for errors. */
typedef struct source {
    const char *option; /* "ca_file" */
    const char *path;   /* NULL: from memory */
    BIO *bio;
    const char *passphrase; /* may be NULL */
    bool asked;             /* for the passphrase */
} source;

static coney_status fail_source(const source *from, const char *what)
{
    return from->path ? cny_fail(CONEY_E_CONNECT, "%s '%s' %s", from->option, from->path, what)
                      : cny_fail(CONEY_E_CONNECT, "%s %s", from->option, what);
}

static coney_status open_file(source *from, const char *option, const char *path)
{
    *from = (source){.option = option, .path = path};
    FILE *file = fopen(path, "re");
    if (!file)
        return cny_fail(CONEY_E_CONNECT, "cannot read %s '%s': %s", option, path, cny_errno_text(errno));
    from->bio = BIO_new_fp(file, BIO_CLOSE);
    if (from->bio)
        return CONEY_OK;
    fclose(file);
    return cny_fail_memory();
}

static coney_status open_memory(source *from, const char *option, const char *pem)
{
    *from = (source){.option = option, .bio = BIO_new_mem_buf(pem, -1)};
    return from->bio ? CONEY_OK : cny_fail_memory();
}

/* Instead of OpenSSL's own callback, which would ask on the terminal. */
static int give_passphrase(char *room, int size, int writing, void *user)
{
    source *from = user;
    (void)writing;
    from->asked = true;
    size_t length = from->passphrase ? strlen(from->passphrase) : 0;
    if (!from->passphrase || length > (size_t)size)
        return -1;
    memcpy(room, from->passphrase, length);
    return (int)length;
}

/* At the end of a file of which that many things could be read. Frees the BIO. */
/* `command` is that of openssl which makes PEM of the thing. */
static coney_status check_all_read(source *from, const char *thing, const char *command, int count)
{
    char what[160];
    BIO_free(from->bio);
    unsigned long cause = ERR_peek_last_error();
    ERR_clear_error();
    bool is_end = ERR_GET_LIB(cause) == ERR_LIB_PEM && ERR_GET_REASON(cause) == PEM_R_NO_START_LINE;
    if (is_end && count > 0)
        return CONEY_OK;
    if (is_end && !from->path)
        snprintf(what, sizeof what, "holds no %s in PEM", thing);
    else if (is_end)
        snprintf(what, sizeof what, "holds no %s in PEM (if it is DER: openssl %s -inform DER -in FILE)", thing,
                 command);
    else
        snprintf(what, sizeof what, "holds a %s that cannot be read", thing);
    return fail_source(from, what);
}

/* Adds all certificates of the source to those that are trusted. */
static coney_status trust(const cny_tls *tls, source *from)
{
    int count = 0;
    X509 *certificate;
    while ((certificate = PEM_read_bio_X509_AUX(from->bio, NULL, give_passphrase, from)) != NULL) {
        count += X509_STORE_add_cert(SSL_CTX_get_cert_store(tls->context), certificate);
        X509_free(certificate);
    }
    return check_all_read(from, "certificate", "x509", count);
}

static coney_status set_authorities(const cny_tls *tls, const coney_tls_options *options)
{
    if (!options->ca_file && !options->ca_pem) {
        SSL_CTX_set_default_verify_paths(tls->context);
        return CONEY_OK;
    }
    /* Whom the program names is trusted, an authority between root and server as well. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls->context), X509_V_FLAG_PARTIAL_CHAIN);
    source from;
    coney_status status = CONEY_OK;
    if (options->ca_file) {
        status = open_file(&from, "ca_file", options->ca_file);
        status = status == CONEY_OK ? trust(tls, &from) : status;
    }
    if (status == CONEY_OK && options->ca_pem) {
        status = open_memory(&from, "ca_pem", options->ca_pem);
        status = status == CONEY_OK ? trust(tls, &from) : status;
    }
    return status;
}

/* Has all certificates of a chain looked up, for a revoked authority is worse than a revoked server. */
static coney_status set_revocation_lists(const cny_tls *tls, const coney_tls_options *options)
{
    source from;
    int count = 0;
    X509_CRL *list;
    coney_status status = options->crl_file ? open_file(&from, "crl_file", options->crl_file) : CONEY_OK;
    if (status != CONEY_OK || !options->crl_file)
        return status;
    while ((list = PEM_read_bio_X509_CRL(from.bio, NULL, give_passphrase, &from)) != NULL) {
        count += X509_STORE_add_crl(SSL_CTX_get_cert_store(tls->context), list);
        X509_CRL_free(list);
    }
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(tls->context), X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return check_all_read(&from, "revocation list", "crl", count);
}

/* The client's certificate, followed by those that lead to its authority. */
static coney_status use_chain(const cny_tls *tls, source *from)
{
    X509 *certificate = PEM_read_bio_X509_AUX(from->bio, NULL, give_passphrase, from);
    if (!certificate)
        return fail_source(from, "holds no certificate in PEM");
    int used = SSL_CTX_use_certificate(tls->context, certificate);
    X509_free(certificate);
    while (used == 1 && (certificate = PEM_read_bio_X509(from->bio, NULL, give_passphrase, from)) != NULL) {
        used = SSL_CTX_add1_chain_cert(tls->context, certificate) ? 1 : 0;
        X509_free(certificate);
    }
    if (used == 1)
        ERR_clear_error(); /* the end of the file is an error to PEM_read_bio_X509() */
    return used == 1 ? CONEY_OK : fail_source(from, reason_of(take_cause()));
}

static coney_status use_key(const cny_tls *tls, source *from)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(from->bio, NULL, give_passphrase, from);
    if (!key && from->asked)
        return fail_source(from, from->passphrase ? "cannot be decrypted with key_passphrase"
                                                  : "is encrypted, and there is no key_passphrase");
    if (!key)
        return fail_source(from, "holds no private key in PEM");
    int used = SSL_CTX_use_PrivateKey(tls->context, key);
    EVP_PKEY_free(key);
    return used == 1 ? CONEY_OK : fail_source(from, "does not belong to the client's certificate");
}

static coney_status set_identity(const cny_tls *tls, const coney_tls_options *options)
{
    source from;
    if (!options->certificate_file && !options->certificate_pem)
        return CONEY_OK;
    coney_status status = options->certificate_file ? open_file(&from, "certificate_file", options->certificate_file)
                                                    : open_memory(&from, "certificate_pem", options->certificate_pem);
    if (status != CONEY_OK)
        return status;
    status = use_chain(tls, &from);
    BIO_free(from.bio);
    if (status == CONEY_OK)
        status = options->key_file ? open_file(&from, "key_file", options->key_file)
                                   : open_memory(&from, "key_pem", options->key_pem);
    if (status != CONEY_OK)
        return status;
    from.passphrase = options->key_passphrase;
    status = use_key(tls, &from);
    BIO_free(from.bio);
    return status;
}

/* ---- setting up ---- */

/* Nothing is cached: files are read for each connection, so that renewed ones count. */
static coney_status make_context(cny_tls *tls, const coney_tls_options *options)
{
    tls->context = SSL_CTX_new(TLS_client_method());
    if (!tls->context)
        return cny_fail(CONEY_E_CONNECT, "OpenSSL is of no use: %s", reason_of(take_cause()));
    if (SSL_CTX_get_min_proto_version(tls->context) < TLS1_2_VERSION) /* the system may demand more */
        SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
    if (options->dangerously_trust_any_server)
        return set_identity(tls, options);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, note_objection);
    coney_status status = set_authorities(tls, options);
    if (status == CONEY_OK)
        status = set_revocation_lists(tls, options);
    return status == CONEY_OK ? set_identity(tls, options) : status;
}

/* If the name is an address in numbers, of whatever form, the certificate must be for that address. The zone is left
 * out, because it has a meaning on this machine only. *is_address is false if the name is no address. */
static bool set_address(X509_VERIFY_PARAM *param, const char *name, bool *is_address)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    char numbers[INET6_ADDRSTRLEN];
    struct addrinfo *found;
    size_t size = strcspn(name, "%"); /* without the zone, which no certificate has */
    snprintf(numbers, sizeof numbers, "%.*s", (int)size, name);
    *is_address = size < sizeof numbers && getaddrinfo(numbers, NULL, &hints, &found) == 0;
    if (!*is_address)
        return false;
    const struct sockaddr_in *ip4 = (const struct sockaddr_in *)(const void *)found->ai_addr;
    const struct sockaddr_in6 *ip6 = (const struct sockaddr_in6 *)(const void *)found->ai_addr;
    int set = found->ai_family == AF_INET
                  ? X509_VERIFY_PARAM_set1_ip(param, (const uint8_t *)&ip4->sin_addr, sizeof ip4->sin_addr)
                  : X509_VERIFY_PARAM_set1_ip(param, (const uint8_t *)&ip6->sin6_addr, sizeof ip6->sin6_addr);
    freeaddrinfo(found);
    return set == 1;
}

/* The name that the certificate must have; announced, too, unless it is an address, which SNI does not have. To
 * OpenSSL an empty name would be no check at all, and one that begins with a dot any name below it. */
static bool set_server_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool is_address;
    if (!*name || *name == '.')
        return false;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    bool set = set_address(param, name, &is_address);
    if (is_address)
        return set;
    return X509_VERIFY_PARAM_set1_host(param, name, 0) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static coney_status make_session(cny_tls *tls, int fd, const cny_wire_target *target)
{
    tls->name = target->tls->server_name ? target->tls->server_name : target->host;
    tls->ssl = SSL_new(tls->context);
    if (!tls->ssl || SSL_set_app_data(tls->ssl, tls) != 1 || SSL_set_fd(tls->ssl, fd) != 1)
        return cny_fail_memory();
    if (!set_server_name(tls->ssl, tls->name))
        return cny_fail(CONEY_E_CONNECT, "'%s' cannot be a server's name", tls->name);
    return CONEY_OK;
}

static coney_status shake_hands(cny_wire *wire, int64_t deadline)
{
    cny_tls *tls = wire->tls;
    for (;;) {
        ERR_clear_error();
        errno = 0;
        int result = SSL_connect(tls->ssl), error_number = errno;
        tls->usable = result == 1;
        if (tls->usable)
            return CONEY_OK;
        int problem = SSL_get_error(tls->ssl, result);
        if (problem != SSL_ERROR_WANT_READ && problem != SSL_ERROR_WANT_WRITE)
            return *tls->objection ? cny_fail(CONEY_E_CONNECT, "%s", tls->objection)
                                   : fail_io(tls, CONEY_E_CONNECT, "the handshake", problem, error_number);
        coney_status status = cny_wire_wait(wire, problem == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
        if (status != CONEY_OK)
            return status;
    }
}

/* A program that returns from main() while our threads still run must not have OpenSSL
 * torn down under them. Counts only if the program has not used OpenSSL before; then it is its choice. */
static void leave_openssl_up(void)
{
#ifdef OPENSSL_INIT_NO_ATEXIT
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL);
#endif
}

coney_status cny_tls_open(cny_wire *wire, const cny_wire_target *target, int64_t deadline)
{
    leave_openssl_up();
    ERR_clear_error();
    wire->tls = cny_alloc(sizeof *wire->tls);
    if (!wire->tls)
        return cny_fail_memory();
    coney_status status = make_context(wire->tls, target->tls);
    if (status == CONEY_OK)
        status = make_session(wire->tls, wire->socket.fd, target);
    if (status == CONEY_OK)
        status = shake_hands(wire, deadline);
    ERR_clear_error();
    if (status == CONEY_E_TIMEOUT)
        return cny_fail(status, "%s:%d accepted the connection but did not finish the TLS handshake within %d ms",
                        target->host, target->port, target->timeout_ms);
    return status == CONEY_E_CONNECT ? cny_fail_in("TLS with %s:%d", target->host, target->port) : status;
}

void cny_tls_free(cny_tls *tls, bool may_write)
{
    if (!tls)
        return;
    if (tls->usable && may_write)
        SSL_shutdown(tls->ssl); /* the socket does not block; whether the close_notify goes out does not matter */
    ERR_clear_error();
    SSL_free(tls->ssl);
    SSL_CTX_free(tls->context);
    cny_error_unref(tls->failure);
    cny_free(tls);
}

/* ---- bytes ---- */

/* After SSL_read_ex() or SSL_write_ex() did nothing: OK if it is a matter of waiting. */
static coney_status check_io(cny_tls *tls, const char *doing, int result)
{
    int error_number = errno, problem = SSL_get_error(tls->ssl, result);
    if (problem == SSL_ERROR_WANT_READ || problem == SSL_ERROR_WANT_WRITE)
        return CONEY_OK;
    return fail_io(tls, CONEY_E_LOST, doing, problem, error_number);
}

coney_status cny_tls_write(cny_tls *tls, const uint8_t *data, size_t size, size_t *written)
{
    *written = 0;
    while (*written < size) {
        size_t part;
        ERR_clear_error();
        errno = 0;
        int result = SSL_write_ex(tls->ssl, data + *written, size - *written, &part);
        if (result != 1)
            return check_io(tls, "writing to the broker", result);
        *written += part; /* one record */
    }
    return CONEY_OK;
}

coney_status cny_tls_read(cny_tls *tls, uint8_t *room, size_t size, size_t *received)
{
    coney_status status = cny_error_raise(tls->failure);
    *received = 0;
    while (status == CONEY_OK) {
        size_t part;
        ERR_clear_error();
        errno = 0;
        int result = SSL_read_ex(tls->ssl, room + *received, size - *received, &part);
        if (result == 1)
            *received += part;
        else
            status = check_io(tls, "reading from the broker", result);
        if (result != 1 || size - *received < CNY_TLS_RECORD_BYTES)
            break;
    }
    if (status == CONEY_OK || *received == 0)
        return status;
    tls->failure = cny_error_capture(); /* what came before it counts: the broker's reason perhaps */
    return CONEY_OK;
}

bool cny_tls_has_input(const cny_tls *tls)
{
    return tls->failure || SSL_pending(tls->ssl) > 0;
}
