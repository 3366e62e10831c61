/* SPDX-License-Identifier: MIT */
/* The inside of the scripted broker, shared by scripted_broker.c (threads, failures),
 * scripted_input.c (what the client says) and scripted_output.c (what it is told).
 *
 * A script is left by longjmp when it fails or when the test stops the broker, so that it needs no
 * error handling of its own; that is what cny_peer_fail() and cny_peer_leave() do. */
#ifndef CNY_TEST_SCRIPTED_PEER_H
#define CNY_TEST_SCRIPTED_PEER_H

#include "base/base.h"
#include "support/scripted_broker.h"

#include <pthread.h>
#include <setjmp.h>

enum { CNY_PEER_CHANNELS = 1100, CNY_PEER_OUTPUT = 128 << 10, CNY_FRAME_END = 0xCE };

typedef struct cny_peer_channel {
    bool open;
    bool closing; /* we sent channel.close and ignore all but the answer */
    bool confirming;
    uint64_t published;
    char consumer_tag[256];
} cny_peer_channel;

/* Used by its own thread only. */
struct cny_peer {
    const cny_broker_options *options;
    cny_broker *broker;
    int number;
    int fd;
    int wake;       /* readable for ever once the broker stops: every wait polls it */
    int go;         /* counts the calls of cny_broker_go() that no script has used yet */
    int last_reads; /* when the broker stops, so many reads may still tell how the client ended */
    pthread_t thread;
    jmp_buf end;
    const char *waiting_for; /* for failures */

    bool greeted;   /* the protocol header was read */
    bool publishes; /* as the connection's name says */
    bool is_isolated;
    bool logged_in; /* before that a client may give up without a failure: it was one attempt of several */
    bool finished;
    bool may_end; /* to end now is no failure */
    bool mute;    /* no heartbeats */
    bool trickle;
    bool closing; /* we sent connection.close and ignore all but the answer */
    bool in_heartbeat;
    bool is_missing; /* the queue that is looked for next */
    uint32_t frame_max;
    int heartbeat_ms; /* between ours; 0: none */
    int64_t next_heartbeat;
    cny_peer_channel channels[CNY_PEER_CHANNELS];

    unsigned char *input;
    size_t input_size;
    size_t input_capacity;
    amqp_pool_t pool; /* holds what `method` points to */
    cny_peer_method method;
    unsigned char output[CNY_PEER_OUTPUT];
};

typedef enum cny_peer_event { CNY_PEER_READY, CNY_PEER_LATE, CNY_PEER_GONE, CNY_PEER_SIGNALLED } cny_peer_event;

/* Waits for the socket or, if it is not -1, for the signal descriptor. */
cny_peer_event cny_peer_await(cny_peer *peer, short events, int64_t deadline, int signal);

/* Reads a method and its content into peer->method. Skips heartbeats unless one is wanted; then it
 * sets in_heartbeat. */
cny_peer_event cny_peer_read(cny_peer *peer, int64_t deadline, int signal, bool want_heartbeat);

/* Ends the script without a failure. */
void cny_peer_end(cny_peer *peer) __attribute__((noreturn));

/* Ends the script, because the client hung up, for example; a failure unless may_end, or on a later
 * connection: a client that came back may find the test over. */
void cny_peer_leave(cny_peer *peer, const char *why) __attribute__((noreturn));

/* Adds what the client said to what the broker has heard. */
void cny_peer_heard(cny_peer *peer, const cny_peer_method *method);

static inline const char *cny_method_name(amqp_method_number_t id)
{
    const char *name = id == CNY_PROTOCOL_HEADER ? "the protocol header" : amqp_method_name(id);
    if (id == CNY_UPDATE_SECRET)
        return "connection.update-secret";
    return name ? name : "an unknown method";
}

#endif
