/* SPDX-License-Identifier: MIT */
/* See tls_peer.h. One thread, one connection after another; nothing waits longer than TIMEOUT_S. */
#include "support/tls_peer.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_S = 2, MAX_GREETINGS = 100 };

struct tls_peer {
    SSL_CTX *context; /* NULL: says nothing */
    const char *last_words;
    int listener;
    int wake;
    int port;
    pthread_t thread;
    pthread_mutex_t lock; /* of the rest */
    int greetings;
    char announced[MAX_GREETINGS][64]; /* empty: no name */
};

/* OpenSSL calls it for every greeting, whether there is a name or not. */
static int note_name(SSL *ssl, int *alert, void *user) /* NOLINT(readability-non-const-parameter): OpenSSL's type */
{
    tls_peer *peer = user;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    pthread_mutex_lock(&peer->lock);
    if (peer->greetings == MAX_GREETINGS)
        abort();
    snprintf(peer->announced[peer->greetings++], sizeof peer->announced[0], "%s", name ? name : "");
    pthread_mutex_unlock(&peer->lock);
    return SSL_TLSEXT_ERR_OK;
}

int tls_peer_count_announced(tls_peer *peer, const char *name)
{
    int count = 0;
    pthread_mutex_lock(&peer->lock);
    for (int i = 0; i < peer->greetings; i++)
        count += strcmp(peer->announced[i], name ? name : "") == 0;
    pthread_mutex_unlock(&peer->lock);
    return count;
}

/* Closing resets the connection then. */
static void say_last_words(const tls_peer *peer, SSL *ssl, int fd)
{
    const struct linger reset = {.l_onoff = 1};
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* else they may wait, and go with the reset */
    (void)SSL_write(ssl, peer->last_words, (int)strlen(peer->last_words));
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
}

static void serve(const tls_peer *peer, int fd)
{
    char bytes[64];
    const struct timeval patience = {.tv_sec = TIMEOUT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    SSL *ssl = SSL_new(peer->context);
    if (!ssl || SSL_set_fd(ssl, fd) != 1)
        abort();
    bool has_shaken_hands = SSL_accept(ssl) == 1;
    if (has_shaken_hands && peer->last_words)
        say_last_words(peer, ssl, fd);
    else if (has_shaken_hands)
        (void)SSL_read(ssl, bytes, sizeof bytes);
    SSL_free(ssl);
    if (has_shaken_hands && peer->last_words)
        return;
    shutdown(fd, SHUT_WR); /* an alert just sent is to be read, not lost to a reset */
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

static void *run(void *argument)
{
    const tls_peer *peer = argument;
    sigset_t all;
    sigfillset(&all); /* SIGPIPE: the client may be gone */
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    for (;;) {
        struct pollfd fds[] = {{.fd = peer->wake, .events = POLLIN}, {.fd = peer->listener, .events = POLLIN}};
        poll(fds, 2, -1);
        if (fds[0].revents)
            return NULL;
        int fd = peer->context ? accept(peer->listener, NULL, NULL) : -1;
        if (!peer->context)
            poll(fds, 1, -1); /* the kernel accepts, and nobody reads */
        if (fd < 0)
            continue;
        serve(peer, fd);
        close(fd);
    }
}

static SSL_CTX *make_context(const tls_peer_options *options)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, options->certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, options->key, SSL_FILETYPE_PEM) != 1)
        abort();
    if (options->authority) {
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        if (SSL_CTX_load_verify_locations(context, options->authority, NULL) != 1)
            abort();
    }
    if (options->newest_version) {
        SSL_CTX_set_min_proto_version(context, 0);
        SSL_CTX_set_max_proto_version(context, options->newest_version);
        SSL_CTX_set_cipher_list(context, "DEFAULT@SECLEVEL=0"); /* for what is too old otherwise */
    }
    return context;
}

tls_peer *tls_peer_start(const tls_peer_options *options)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    tls_peer *peer = calloc(1, sizeof *peer);
    if (!peer)
        abort();
    pthread_mutex_init(&peer->lock, NULL);
    peer->last_words = options->last_words;
    if (options->certificate) {
        peer->context = make_context(options);
        SSL_CTX_set_tlsext_servername_callback(peer->context, note_name);
        SSL_CTX_set_tlsext_servername_arg(peer->context, peer);
    }
    peer->wake = eventfd(0, EFD_CLOEXEC);
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(peer->listener, (struct sockaddr *)&address, size) < 0 || listen(peer->listener, 16) < 0 ||
        getsockname(peer->listener, (struct sockaddr *)&address, &size) < 0)
        abort();
    peer->port = ntohs(address.sin_port);
    if (pthread_create(&peer->thread, NULL, run, peer) != 0)
        abort();
    return peer;
}

int tls_peer_port(const tls_peer *peer)
{
    return peer->port;
}

void tls_peer_stop(tls_peer *peer)
{
    if (!peer)
        return;
    eventfd_write(peer->wake, 1);
    pthread_join(peer->thread, NULL);
    close(peer->listener);
    close(peer->wake);
    SSL_CTX_free(peer->context);
    pthread_mutex_destroy(&peer->lock);
    free(peer);
}
