/* SPDX-License-Identifier: MIT */
/* One thread moves all bytes. It sleeps in poll and holds the lock for the rest of each turn, so
 * that the test's threads change modes and connections between two turns. What poll says of single
 * sockets is not looked at: each turn tries all of them, which keeps the cases few. */
#include "support/proxy.h"

#include "base/base.h"
#include "support/cmocka.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CIRCUITS = 64, FLOW_BYTES = 64 << 10, FLOW_PIECES = 256, RATE_TICK_MS = 10, PATIENCE_S = 10 };

/* Index of ends, and of flows and modes by the end where their bytes come from. 1 << CLIENT is
 * CNY_TO_BROKER. */
enum { CLIENT, BROKER };

typedef struct mode {
    bool black_hole;
    bool trickle;
    bool cutting;
    size_t cut_after;
    int delay_ms;
    int bytes_per_s;
} mode;

/* What came in one millisecond. */
typedef struct piece {
    int64_t due_ms;
    size_t size;
} piece;

/* One way of one connection. */
typedef struct flow {
    unsigned char bytes[FLOW_BYTES];
    size_t size;
    piece pieces[FLOW_PIECES];
    size_t piece_count;
    int64_t pause_until_ms; /* what the rate demands */
    bool full;              /* the receiver's socket takes no more now */
    bool ended;             /* the sender has hung up */
    bool deaf;              /* what comes is dropped: it was cut, or has lost bytes */
    bool finished;          /* the receiver has read the end of the stream */
    bool secret;            /* the sender was reset, the receiver shall not learn of it */
} flow;

typedef struct circuit {
    int ends[2]; /* sockets of client and broker, -1 when gone */
    flow *flows[2];
} circuit;

struct cny_proxy {
    /* fixed after start */
    int target_port;
    int port;
    int place; /* a socket that never listens; while nobody does, it keeps the port ours */
    int wake;
    pthread_t thread;

    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t turned;
    uint64_t turns;
    bool stopping;
    int listener; /* -1: refuses */
    mode modes[2];
    circuit circuits[MAX_CIRCUITS];
    int circuit_count;
    int accepted;
};

/* --- ends --- */

static void close_end(circuit *pair, int end)
{
    if (pair->ends[end] >= 0)
        close(pair->ends[end]);
    pair->ends[end] = -1;
}

static void reset_end(circuit *pair, int end)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (pair->ends[end] >= 0)
        setsockopt(pair->ends[end], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close_end(pair, end);
}

static void deafen(flow *way)
{
    way->deaf = true;
    way->size = 0;
    way->piece_count = 0;
}

static void cut_flow(circuit *pair, int from)
{
    flow *way = pair->flows[from];
    if (pair->ends[!from] >= 0 && !way->finished)
        shutdown(pair->ends[!from], SHUT_WR);
    way->finished = true;
    deafen(way);
}

/* --- bytes --- */

static bool may_read(const circuit *pair, int from)
{
    const flow *way = pair->flows[from];
    return pair->ends[from] >= 0 && !way->ended && way->size < FLOW_BYTES && way->piece_count < FLOW_PIECES;
}

static void keep(flow *way, size_t size, int64_t due_ms)
{
    piece *last = way->piece_count > 0 ? &way->pieces[way->piece_count - 1] : NULL;
    way->size += size;
    if (last && last->due_ms >= due_ms)
        last->size += size; /* it may not overtake */
    else
        way->pieces[way->piece_count++] = (piece){due_ms, size};
}

static void read_some(circuit *pair, int from, const mode *how, int64_t now)
{
    flow *way = pair->flows[from];
    if (!may_read(pair, from))
        return;
    ssize_t got = recv(pair->ends[from], way->bytes + way->size, FLOW_BYTES - way->size, MSG_DONTWAIT);
    way->deaf |= got > 0 && how->black_hole;
    if (got > 0 && !way->deaf)
        keep(way, (size_t)got, now + how->delay_ms);
    else if (got == 0)
        way->ended = true;
    else if (got < 0 && errno != EAGAIN && errno != EINTR)
        close_end(pair, from);
}

/* How many bytes may go now. */
static size_t allowance(const flow *way, const mode *how, int64_t now)
{
    size_t due = 0;
    for (size_t i = 0; i < way->piece_count && way->pieces[i].due_ms <= now; i++)
        due += way->pieces[i].size;
    size_t most = due;
    if (how->cutting)
        most = how->cut_after;
    if (how->trickle)
        most = 1;
    if (how->bytes_per_s > 0)
        most = way->pause_until_ms > now ? 0 : (size_t)how->bytes_per_s * RATE_TICK_MS / 1000 + 1;
    return due < most ? due : most;
}

static void drop_front(flow *way, size_t size)
{
    size_t whole = 0;
    memmove(way->bytes, way->bytes + size, way->size - size);
    way->size -= size;
    while (size > 0 && way->pieces[whole].size <= size)
        size -= way->pieces[whole++].size;
    if (size > 0)
        way->pieces[whole].size -= size;
    memmove(way->pieces, way->pieces + whole, (way->piece_count - whole) * sizeof *way->pieces);
    way->piece_count -= whole;
}

static void write_some(circuit *pair, int from, mode *how, int64_t now)
{
    flow *way = pair->flows[from];
    size_t size = allowance(way, how, now);
    way->full = false;
    if (pair->ends[!from] < 0)
        deafen(way);
    if (size == 0 || way->deaf)
        return;
    ssize_t sent = send(pair->ends[!from], way->bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
        way->full = errno == EAGAIN;
        if (!way->full)
            close_end(pair, !from);
        return;
    }
    drop_front(way, (size_t)sent);
    if (how->bytes_per_s > 0)
        way->pause_until_ms = now + (int64_t)sent * 1000 / how->bytes_per_s;
    if (how->cutting && (how->cut_after -= (size_t)sent) == 0) {
        cut_flow(pair, from);
        *how = (mode){0};
    }
}

/* A hang-up follows the bytes; a peer that is gone altogether takes the other one along. */
static void pass_the_end(circuit *pair, int from, const mode *how)
{
    flow *way = pair->flows[from];
    if (how->black_hole || way->secret || way->size > 0)
        return;
    if (pair->ends[from] < 0)
        reset_end(pair, !from);
    else if (way->ended && !way->finished)
        cut_flow(pair, from);
}

static void serve_circuit(cny_proxy *proxy, circuit *pair, int64_t now)
{
    for (int from = CLIENT; from <= BROKER; from++) {
        mode *how = &proxy->modes[from];
        read_some(pair, from, how, now);
        write_some(pair, from, how, now);
        pass_the_end(pair, from, how);
    }
    const flow *up = pair->flows[CLIENT], *down = pair->flows[BROKER];
    if (up->ended && up->finished && down->ended && down->finished) {
        close_end(pair, CLIENT);
        close_end(pair, BROKER);
    }
}

static void remove_dead_circuits(cny_proxy *proxy)
{
    for (int i = proxy->circuit_count - 1; i >= 0; i--) {
        circuit *pair = &proxy->circuits[i];
        bool up = pair->ends[CLIENT] >= 0 && !pair->flows[CLIENT]->ended;
        bool down = pair->ends[BROKER] >= 0 && !pair->flows[BROKER]->ended;
        bool orphan = pair->ends[CLIENT] < 0 || pair->ends[BROKER] < 0;
        if (orphan && !up && !down) {
            close_end(pair, CLIENT);
            close_end(pair, BROKER);
            free(pair->flows[CLIENT]);
            free(pair->flows[BROKER]);
            *pair = proxy->circuits[--proxy->circuit_count];
        }
    }
}

/* --- the thread --- */

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
}

static void add_circuit(cny_proxy *proxy, int client)
{
    int on = 1;
    struct sockaddr_in target = loopback(proxy->target_port);
    circuit *pair = &proxy->circuits[proxy->circuit_count];
    proxy->accepted++;
    if (proxy->circuit_count == MAX_CIRCUITS)
        abort();
    *pair = (circuit){.ends = {client, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}};
    if (connect(pair->ends[BROKER], (struct sockaddr *)&target, sizeof target) < 0) {
        reset_end(pair, CLIENT);
        close_end(pair, BROKER);
        return;
    }
    for (int i = CLIENT; i <= BROKER; i++) {
        setsockopt(pair->ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        pair->flows[i] = calloc(1, sizeof *pair->flows[i]);
        if (!pair->flows[i])
            abort();
    }
    proxy->circuit_count++;
}

static void turn(cny_proxy *proxy)
{
    int64_t now = cny_now_ms();
    int client;
    while (proxy->listener >= 0 && (client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        add_circuit(proxy, client);
    for (int i = 0; i < proxy->circuit_count; i++)
        serve_circuit(proxy, &proxy->circuits[i], now);
    remove_dead_circuits(proxy);
    proxy->turns++;
    pthread_cond_broadcast(&proxy->turned);
}

/* When this way can go on by itself; -1: only something new makes it. */
static int64_t next_ms(const flow *way)
{
    if (way->piece_count == 0 || way->full)
        return -1;
    int64_t due = way->pieces[0].due_ms;
    return due > way->pause_until_ms ? due : way->pause_until_ms;
}

/* Lists what to poll and tells for how long. */
static int prepare(const cny_proxy *proxy, struct pollfd *fds, nfds_t *count)
{
    int64_t earliest = -1;
    *count = 0;
    fds[(*count)++] = (struct pollfd){proxy->wake, POLLIN, 0};
    if (proxy->listener >= 0)
        fds[(*count)++] = (struct pollfd){proxy->listener, POLLIN, 0};
    for (int i = 0; i < proxy->circuit_count; i++) {
        const circuit *pair = &proxy->circuits[i];
        for (int end = CLIENT; end <= BROKER; end++) {
            int64_t next = next_ms(pair->flows[end]);
            short events = (short)((may_read(pair, end) ? POLLIN : 0) | (pair->flows[!end]->full ? POLLOUT : 0));
            if (pair->ends[end] >= 0 && events)
                fds[(*count)++] = (struct pollfd){pair->ends[end], events, 0};
            if (pair->ends[!end] >= 0 && next >= 0 && (earliest < 0 || next < earliest))
                earliest = next;
        }
    }
    int64_t now = cny_now_ms();
    return earliest < 0 ? -1 : earliest < now ? 0 : (int)(earliest - now);
}

static void *run(void *arg)
{
    cny_proxy *proxy = arg;
    struct pollfd fds[2 + 2 * MAX_CIRCUITS];
    nfds_t count;
    uint64_t woken;
    pthread_mutex_lock(&proxy->lock);
    while (!proxy->stopping) {
        turn(proxy);
        int timeout_ms = prepare(proxy, fds, &count);
        pthread_mutex_unlock(&proxy->lock);
        poll(fds, count, timeout_ms);
        pthread_mutex_lock(&proxy->lock);
        if (read(proxy->wake, &woken, sizeof woken) < 0 && errno != EAGAIN)
            abort();
    }
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

/* --- the test's side --- */

static void wake_up(cny_proxy *proxy)
{
    uint64_t one = 1;
    if (write(proxy->wake, &one, sizeof one) != sizeof one)
        abort();
}

/* Unlocks, when the thread has done a whole turn with what was changed. */
static void take_effect(cny_proxy *proxy)
{
    struct timespec deadline;
    uint64_t before = proxy->turns;
    int late = 0;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += PATIENCE_S;
    wake_up(proxy);
    while (proxy->turns == before && !late)
        late = pthread_cond_timedwait(&proxy->turned, &proxy->lock, &deadline);
    pthread_mutex_unlock(&proxy->lock);
    if (late)
        fail_msg("the proxy's thread does not turn");
}

static int bind_to(int port)
{
    int on = 1;
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        abort();
    return fd;
}

static int listen_at(int port)
{
    int fd = bind_to(port);
    if (listen(fd, MAX_CIRCUITS) < 0)
        abort();
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        abort();
    return ntohs(address.sin_port);
}

cny_proxy *cny_proxy_start(int target_port)
{
    cny_proxy *proxy = calloc(1, sizeof *proxy);
    pthread_condattr_t monotonic;
    if (!proxy)
        abort();
    proxy->target_port = target_port;
    proxy->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&proxy->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&proxy->turned, &monotonic);
    pthread_condattr_destroy(&monotonic);
    proxy->place = bind_to(0);
    proxy->port = port_of(proxy->place);
    proxy->listener = listen_at(proxy->port);
    if (pthread_create(&proxy->thread, NULL, run, proxy) != 0)
        abort();
    return proxy;
}

int cny_proxy_port(const cny_proxy *proxy)
{
    return proxy->port;
}

static void stop_listening(cny_proxy *proxy)
{
    if (proxy->listener >= 0)
        close(proxy->listener);
    proxy->listener = -1;
}

void cny_proxy_stop(cny_proxy *proxy)
{
    if (!proxy)
        return;
    pthread_mutex_lock(&proxy->lock);
    proxy->stopping = true;
    wake_up(proxy);
    pthread_mutex_unlock(&proxy->lock);
    pthread_join(proxy->thread, NULL);
    for (int i = 0; i < proxy->circuit_count; i++) {
        for (int end = CLIENT; end <= BROKER; end++) {
            close_end(&proxy->circuits[i], end);
            free(proxy->circuits[i].flows[end]);
        }
    }
    stop_listening(proxy);
    close(proxy->place);
    close(proxy->wake);
    pthread_cond_destroy(&proxy->turned);
    pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}

static void set_mode(cny_proxy *proxy, cny_way ways, mode how)
{
    pthread_mutex_lock(&proxy->lock);
    for (int from = CLIENT; from <= BROKER; from++) {
        if (ways & 1U << from)
            proxy->modes[from] = how;
    }
    take_effect(proxy);
}

void cny_proxy_pass(cny_proxy *proxy, cny_way ways)
{
    set_mode(proxy, ways, (mode){0});
}

void cny_proxy_black_hole(cny_proxy *proxy, cny_way ways)
{
    set_mode(proxy, ways, (mode){.black_hole = true});
}

void cny_proxy_trickle(cny_proxy *proxy, cny_way ways)
{
    set_mode(proxy, ways, (mode){.trickle = true});
}

void cny_proxy_delay(cny_proxy *proxy, cny_way ways, int ms)
{
    set_mode(proxy, ways, (mode){.delay_ms = ms});
}

void cny_proxy_rate(cny_proxy *proxy, cny_way ways, int bytes_per_s)
{
    set_mode(proxy, ways, (mode){.bytes_per_s = bytes_per_s});
}

void cny_proxy_cut_after(cny_proxy *proxy, cny_way ways, size_t bytes)
{
    assert_true(bytes > 0);
    set_mode(proxy, ways, (mode){.cutting = true, .cut_after = bytes});
}

void cny_proxy_cut(cny_proxy *proxy, cny_way ways)
{
    pthread_mutex_lock(&proxy->lock);
    for (int i = 0; i < proxy->circuit_count; i++) {
        for (int from = CLIENT; from <= BROKER; from++) {
            if (ways & 1U << from)
                cut_flow(&proxy->circuits[i], from);
        }
    }
    take_effect(proxy);
}

void cny_proxy_reset(cny_proxy *proxy, cny_way ways)
{
    pthread_mutex_lock(&proxy->lock);
    for (int i = 0; i < proxy->circuit_count; i++) {
        for (int from = CLIENT; from <= BROKER; from++) {
            if (!(ways & 1U << from))
                continue;
            proxy->circuits[i].flows[!from]->secret = true;
            reset_end(&proxy->circuits[i], !from);
        }
    }
    take_effect(proxy);
}

void cny_proxy_refuse(cny_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    stop_listening(proxy);
    take_effect(proxy); /* the poll holds on to what it waits for */
}

void cny_proxy_listen(cny_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    if (proxy->listener < 0)
        proxy->listener = listen_at(proxy->port);
    take_effect(proxy);
}

int cny_proxy_accepted(cny_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    int accepted = proxy->accepted;
    pthread_mutex_unlock(&proxy->lock);
    return accepted;
}

int cny_proxy_open(cny_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    int open = proxy->circuit_count;
    pthread_mutex_unlock(&proxy->lock);
    return open;
}
