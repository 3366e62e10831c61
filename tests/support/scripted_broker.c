/* SPDX-License-Identifier: MIT */
/* The scripted broker's life: one thread accepts, one per connection runs the script and then
 * serves. Only the first failure of any script is kept, since the others tend to follow from it. */
#include "support/cmocka.h"
#include "support/scripted_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PEERS = 256 };

struct cny_broker {
    /* fixed after start */
    cny_broker_options options;
    int listener;
    int wake;
    int go;
    int port;
    char uri[80];
    pthread_t acceptor;

    /* acceptor only, until it has ended */
    cny_peer *peers[MAX_PEERS];
    int peer_count;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int finished;
    char failure[512];
    int heard_count;
    cny_heard heard[CNY_MAX_HEARD]; /* the first so many */
};

/* --- scripts --- */

static void finish(cny_peer *peer)
{
    if (peer->finished)
        return;
    peer->finished = true;
    pthread_mutex_lock(&peer->broker->lock);
    peer->broker->finished++;
    pthread_cond_broadcast(&peer->broker->changed);
    pthread_mutex_unlock(&peer->broker->lock);
}

void cny_peer_fail(cny_peer *peer, const char *format, ...)
{
    cny_broker *broker = peer->broker;
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&broker->lock);
    if (!broker->failure[0])
        snprintf(broker->failure, sizeof broker->failure, "scripted broker, connection %d: %s", peer->number, text);
    pthread_mutex_unlock(&broker->lock);
    longjmp(peer->end, 1);
}

void cny_peer_end(cny_peer *peer)
{
    longjmp(peer->end, 1);
}

void cny_peer_leave(cny_peer *peer, const char *why)
{
    if (peer->may_end || !peer->logged_in || peer->number > 0 || peer->options->may_hang_up)
        cny_peer_end(peer);
    cny_peer_fail(peer, "%s while the script waited for %s", why, peer->waiting_for);
}

int cny_peer_number(const cny_peer *peer)
{
    return peer->number;
}

bool cny_peer_publishes(const cny_peer *peer)
{
    return peer->publishes;
}

bool cny_peer_is_isolated(const cny_peer *peer)
{
    return peer->is_isolated;
}

static void *run_peer(void *arg)
{
    cny_peer *peer = arg;
    if (setjmp(peer->end) == 0) {
        if (peer->options->script)
            peer->options->script(peer, peer->options->user);
        finish(peer);
        peer->may_end = true;
        for (;;)
            cny_peer_answer(peer, cny_peer_next(peer));
    }
    cny_peer_hang_up(peer);
    finish(peer);
    return NULL;
}

/* --- the broker --- */

static void start_peer(cny_broker *broker, int fd)
{
    int on = 1;
    cny_peer *peer = calloc(1, sizeof *peer);
    if (!peer || broker->peer_count == MAX_PEERS || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        abort();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    peer->options = &broker->options;
    peer->broker = broker;
    peer->number = broker->peer_count;
    peer->fd = fd;
    peer->wake = broker->wake;
    peer->go = broker->go;
    peer->last_reads = 1000;
    peer->frame_max = broker->options.frame_max;
    init_amqp_pool(&peer->pool, 65536);
    broker->peers[broker->peer_count++] = peer;
    if (pthread_create(&peer->thread, NULL, run_peer, peer) != 0)
        abort();
}

static void *accept_peers(void *arg)
{
    cny_broker *broker = arg;
    for (;;) {
        struct pollfd fds[] = {{broker->wake, POLLIN, 0}, {broker->listener, POLLIN, 0}};
        poll(fds, 2, -1);
        if (fds[0].revents)
            return NULL;
        int fd = accept(broker->listener, NULL, NULL);
        if (fd >= 0)
            start_peer(broker, fd);
    }
}

static void listen_somewhere(cny_broker *broker)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int buffer = broker->options.receive_buffer;
    broker->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (buffer > 0)
        setsockopt(broker->listener, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (bind(broker->listener, (struct sockaddr *)&address, size) < 0 || listen(broker->listener, MAX_PEERS) < 0 ||
        getsockname(broker->listener, (struct sockaddr *)&address, &size) < 0)
        abort();
    broker->port = ntohs(address.sin_port);
    snprintf(broker->uri, sizeof broker->uri, "amqp://guest:guest@127.0.0.1:%d/%%2F", broker->port);
}

cny_broker *cny_broker_start(const cny_broker_options *options)
{
    cny_broker *broker = calloc(1, sizeof *broker);
    if (!broker)
        abort();
    broker->options = *options;
    if (broker->options.frame_max == 0)
        broker->options.frame_max = 131072;
    if (broker->options.channel_max == 0)
        broker->options.channel_max = 2047;
    broker->wake = eventfd(0, EFD_CLOEXEC);
    broker->go = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    pthread_mutex_init(&broker->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&broker->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    listen_somewhere(broker);
    if (pthread_create(&broker->acceptor, NULL, accept_peers, broker) != 0)
        abort();
    return broker;
}

const char *cny_broker_uri(const cny_broker *broker)
{
    return broker->uri;
}

int cny_broker_port(const cny_broker *broker)
{
    return broker->port;
}

static void raise_event(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) != sizeof one)
        abort();
}

void cny_broker_go(cny_broker *broker)
{
    raise_event(broker->go);
}

void cny_broker_wait(cny_broker *broker, int finished)
{
    struct timespec deadline;
    int late = 0;
    char failure[sizeof broker->failure];
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += CNY_PATIENCE_MS / 1000 + 1;
    pthread_mutex_lock(&broker->lock);
    while (broker->finished < finished && !broker->failure[0] && !late)
        late = pthread_cond_timedwait(&broker->changed, &broker->lock, &deadline);
    memcpy(failure, broker->failure, sizeof failure);
    broker->failure[0] = '\0'; /* told once */
    pthread_mutex_unlock(&broker->lock);
    if (failure[0])
        fail_msg("%s", failure);
    if (late)
        fail_msg("scripted broker: fewer than %d scripts have finished", finished);
}

/* --- what was heard --- */

static amqp_bytes_t thing_of(const cny_peer_method *method)
{
    void *args = method->args;
    switch (method->id) {
    case AMQP_QUEUE_DECLARE_METHOD: return ((amqp_queue_declare_t *)args)->queue;
    case AMQP_QUEUE_BIND_METHOD: return ((amqp_queue_bind_t *)args)->queue;
    case AMQP_EXCHANGE_DECLARE_METHOD: return ((amqp_exchange_declare_t *)args)->exchange;
    case AMQP_BASIC_CONSUME_METHOD: return ((amqp_basic_consume_t *)args)->queue;
    case AMQP_BASIC_PUBLISH_METHOD: return amqp_cstring_bytes(method->body);
    default: return amqp_empty_bytes;
    }
}

void cny_peer_heard(cny_peer *peer, const cny_peer_method *method)
{
    cny_heard one = {.at_ms = cny_now_ms(),
                     .peer = peer->number,
                     .publishing = peer->publishes,
                     .id = method->id,
                     .channel = method->channel};
    amqp_bytes_t thing = thing_of(method);
    snprintf(one.what, sizeof one.what, "%.*s", (int)thing.len, thing.len > 0 ? (const char *)thing.bytes : "");
    pthread_mutex_lock(&peer->broker->lock);
    if (peer->broker->heard_count < CNY_MAX_HEARD)
        peer->broker->heard[peer->broker->heard_count++] = one;
    pthread_mutex_unlock(&peer->broker->lock);
}

int cny_broker_heard(cny_broker *broker, cny_heard heard[CNY_MAX_HEARD])
{
    pthread_mutex_lock(&broker->lock);
    int count = broker->heard_count;
    memcpy(heard, broker->heard, (size_t)count * sizeof *heard);
    pthread_mutex_unlock(&broker->lock);
    return count;
}

int cny_broker_count_heard(cny_broker *broker, amqp_method_number_t id)
{
    int count = 0;
    pthread_mutex_lock(&broker->lock);
    for (int i = 0; i < broker->heard_count; i++)
        count += broker->heard[i].id == id;
    pthread_mutex_unlock(&broker->lock);
    return count;
}

void cny_broker_stop(cny_broker *broker)
{
    if (!broker)
        return;
    raise_event(broker->wake);
    pthread_join(broker->acceptor, NULL);
    for (int i = 0; i < broker->peer_count; i++) {
        cny_peer *peer = broker->peers[i];
        pthread_join(peer->thread, NULL);
        empty_amqp_pool(&peer->pool);
        free(peer->input);
        free(peer);
    }
    char failure[sizeof broker->failure];
    memcpy(failure, broker->failure, sizeof failure);
    close(broker->listener);
    close(broker->wake);
    close(broker->go);
    pthread_cond_destroy(&broker->changed);
    pthread_mutex_destroy(&broker->lock);
    free(broker);
    if (failure[0])
        fail_msg("%s", failure);
}
