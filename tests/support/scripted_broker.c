/* SPDX-License-Identifier: MIT */
/* The scripted broker's life: one thread accepts, one per connection runs the script and then
 * serves. Only the first failure of any script is kept, since the others tend to follow from it. */
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

#include <cmocka.h>

enum { MAX_PEERS = 32 };

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
};

int64_t cny_broker_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

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

void cny_peer_leave(cny_peer *peer, const char *why)
{
    if (peer->may_end)
        longjmp(peer->end, 1);
    cny_peer_fail(peer, "%s while the script waited for %s", why, peer->waiting_for);
}

int cny_peer_number(const cny_peer *peer)
{
    return peer->number;
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
