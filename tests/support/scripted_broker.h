/* SPDX-License-Identifier: MIT */
/* A broker that plays a script: an AMQP 0-9-1 server on a free port of 127.0.0.1 that says exactly
 * what a test wants a client to hear, half frames, lies and silence included.
 *
 * Every connection has a thread that runs the script. A script answers politely whatever it does
 * not care about, then does its deed:
 *
 *     static void refuse_a_message(cny_peer *peer, void *user)
 *     {
 *         cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
 *         cny_peer_nack(peer, publish->channel, publish->number, false);
 *     }
 *
 * When the script has returned, the connection is served until the client closes it. What a client
 * does wrong, or fails to do within CNY_PATIENCE_MS, ends the script and fails the test in
 * cny_broker_wait() or cny_broker_stop(). Nothing here waits without a deadline. */
#ifndef CNY_TEST_SCRIPTED_BROKER_H
#define CNY_TEST_SCRIPTED_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp.h>
#include <amqp_framing.h>
#else
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#endif

#define CNY_PATIENCE_MS 30000

/* Stands for the eight bytes that a client says first. */
#define CNY_PROTOCOL_HEADER ((amqp_method_number_t)0)

/* connection.update-secret, which rabbitmq-c does not know before 0.12. */
#define CNY_UPDATE_SECRET ((amqp_method_number_t)0x000a0046)

typedef struct cny_broker cny_broker;
typedef struct cny_peer cny_peer;

/* Runs on the connection's thread; it ends early, without returning, when the test fails or stops
 * the broker, so it must hold nothing that needs freeing. */
typedef void cny_script(cny_peer *peer, void *user);

/* Zero means the default. */
typedef struct cny_broker_options {
    cny_script *script; /* none: serves */
    void *user;
    uint16_t heartbeat_s; /* proposed; 0, so that the client's wish counts */
    uint32_t frame_max;   /* proposed; 131,072 */
    uint16_t channel_max; /* proposed; 2,047 */
    bool may_hang_up;     /* a client that ends its first connection is no failure */
    int receive_buffer;   /* bytes the kernel takes from a client that we do not read; the system's */
} cny_broker_options;

/* What the client said. All of it lives until the script reads from the peer again. */
typedef struct cny_peer_method {
    amqp_method_number_t id;
    amqp_channel_t channel;
    void *args; /* the id's amqp_..._t */
    /* with basic.publish, and the last two, the secret, with CNY_UPDATE_SECRET: */
    uint64_t number; /* in the channel's confirms, from 1 */
    amqp_basic_properties_t *properties;
    const char *body; /* NUL-terminated behind size */
    size_t size;
} cny_peer_method;

/* The test's side. Failures are cmocka's, so all but go() are for the test's thread. */
cny_broker *cny_broker_start(const cny_broker_options *options);
const char *cny_broker_uri(const cny_broker *broker);
int cny_broker_port(const cny_broker *broker);
void cny_broker_go(cny_broker *broker);                 /* lets one that waits for it continue */
void cny_broker_wait(cny_broker *broker, int finished); /* until so many scripts have returned */
void cny_broker_stop(cny_broker *broker);               /* ends every script and frees; takes NULL */

/* What all clients said to it so far, in the order in which it was read: a copy, the number returned. */
typedef struct cny_heard {
    int64_t at_ms; /* of cny_now_ms() */
    int peer;
    bool publishing; /* its connection's name says so */
    amqp_method_number_t id;
    amqp_channel_t channel;
    char what[32]; /* the queue, the exchange or, of basic.publish, the body */
} cny_heard;

enum { CNY_MAX_HEARD = 4096 };
int cny_broker_heard(cny_broker *broker, cny_heard heard[CNY_MAX_HEARD]);
int cny_broker_count_heard(cny_broker *broker, amqp_method_number_t id); /* CNY_PROTOCOL_HEADER: connections */

/* The script's side: listening. next() skips heartbeats and answers nothing; expect() is next()
 * that insists on the method; serve_until() answers everything up to the method, but not that. */
int cny_peer_number(const cny_peer *peer);       /* 0 is the first connection */
bool cny_peer_publishes(const cny_peer *peer);   /* this is a publishing connection; known from start-ok on */
bool cny_peer_is_isolated(const cny_peer *peer); /* and this the one on which suspects are tried alone */
cny_peer_method *cny_peer_next(cny_peer *peer);
bool cny_peer_hears(cny_peer *peer, int ms); /* whether the client says anything so soon */
cny_peer_method *cny_peer_expect(cny_peer *peer, amqp_method_number_t id);
cny_peer_method *cny_peer_serve_until(cny_peer *peer, amqp_method_number_t id);
bool cny_peer_log_in(cny_peer *peer); /* answers the login; tells whether the connection publishes */
amqp_channel_t cny_peer_serve_until_consumer(cny_peer *peer); /* answers its basic.consume, too */
void cny_peer_wait_go(cny_peer *peer);                        /* serves until cny_broker_go() */
void cny_peer_serve_until_heartbeat(cny_peer *peer);
bool cny_peer_silence(cny_peer *peer, int ms); /* reads, says nothing; false once the client hung up */
void cny_peer_stall(cny_peer *peer, int ms);   /* does not even read */
void cny_peer_stall_until_go(cny_peer *peer);  /* the same until cny_broker_go() */

/* Speaking. Properties may be NULL, and so may the args of a method without fields. */
void cny_peer_answer(cny_peer *peer, const cny_peer_method *method); /* as a broker in a good mood */
void cny_peer_send(cny_peer *peer, amqp_channel_t channel, amqp_method_number_t id, void *args);
void cny_peer_send_half(cny_peer *peer, amqp_channel_t channel, amqp_method_number_t id, void *args);
void cny_peer_send_header(cny_peer *peer, amqp_channel_t channel, uint64_t size, amqp_basic_properties_t *properties);
void cny_peer_send_frame(cny_peer *peer, uint8_t type, amqp_channel_t channel, const void *payload, size_t size);
void cny_peer_send_bytes(cny_peer *peer, const void *bytes, size_t size);
void cny_peer_trickle(cny_peer *peer);       /* everything goes out byte by byte from now on */
void cny_peer_cork(cny_peer *peer, bool on); /* all that is said in between arrives at once */
void cny_peer_ack(cny_peer *peer, amqp_channel_t channel, uint64_t number, bool multiple);
void cny_peer_nack(cny_peer *peer, amqp_channel_t channel, uint64_t number, bool multiple);
void cny_peer_return(cny_peer *peer, const cny_peer_method *publish, uint16_t code, const char *text);
void cny_peer_deliver(cny_peer *peer, amqp_channel_t channel, uint64_t tag, const char *body);
void cny_peer_deliver_method(cny_peer *peer, amqp_channel_t channel, uint64_t tag); /* no header, no body */
void cny_peer_get_ok(cny_peer *peer, amqp_channel_t channel, uint64_t tag, amqp_basic_properties_t *properties,
                     const char *body);                                  /* NULL: no header, no body */
void cny_peer_cancel_consumer(cny_peer *peer, amqp_channel_t channel);   /* who looks for its queue next finds none */
void cny_peer_time_out_consumer(cny_peer *peer, amqp_channel_t channel); /* the same, and the queue is there */
void cny_peer_block(cny_peer *peer, const char *reason);                 /* holds back publishers; NULL: no more */

/* Ending. The first two serve until the client's close-ok; the next two tell whether one came before
 * the client hung up. The cause is the client's method that the broker objects to. */
void cny_peer_close_channel(cny_peer *peer, amqp_channel_t channel, uint16_t code, const char *text);
void cny_peer_close_channel_over(cny_peer *peer, amqp_method_number_t cause, amqp_channel_t channel, uint16_t code,
                                 const char *text);
bool cny_peer_close_connection(cny_peer *peer, uint16_t code, const char *text);
bool cny_peer_close_connection_over(cny_peer *peer, amqp_method_number_t cause, uint16_t code, const char *text);
void cny_peer_hang_up(cny_peer *peer);
void cny_peer_reset(cny_peer *peer);

/* Fails the test from a script. */
void cny_peer_fail(cny_peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));
#define cny_peer_check(peer, condition)                                                                                \
    ((condition) ? (void)0 : cny_peer_fail(peer, "%s:%d: %s", __FILE__, __LINE__, #condition))

#endif
