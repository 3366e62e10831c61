/* SPDX-License-Identifier: MIT */
/* The bytes between Coney and the broker. This folder alone knows rabbitmq-c, and this header shows nothing of it.
 *
 * A cny_wire is a logged-in socket. Only the I/O thread of its connection uses it, but any thread may call
 * cny_wire_wake() and cny_wire_interrupt(), and may write while the I/O thread polls, if cny_wire_takes_other_writers()
 * says so. The encoders are pure functions for any thread: they append whole frames to a buffer, or fail and leave the
 * buffer as it was. */
#ifndef CNY_WIRE_H
#define CNY_WIRE_H

#include "amqp/amqp.h"
#include "topology/topology.h"

#include <coney/rabbit/tls.h>

#include <sys/uio.h>

/* AMQP's numbers: class * 65536 + method. */
typedef enum cny_method {
    CNY_CONNECTION_CLOSE = 0x000a0032,
    CNY_CONNECTION_CLOSE_OK = 0x000a0033,
    CNY_CONNECTION_BLOCKED = 0x000a003c,
    CNY_CONNECTION_UNBLOCKED = 0x000a003d,
    CNY_CONNECTION_UPDATE_SECRET_OK = 0x000a0047,
    CNY_CHANNEL_OPEN = 0x0014000a,
    CNY_CHANNEL_OPEN_OK = 0x0014000b,
    CNY_CHANNEL_CLOSE = 0x00140028,
    CNY_CHANNEL_CLOSE_OK = 0x00140029,
    CNY_EXCHANGE_DECLARE = 0x0028000a,
    CNY_EXCHANGE_DECLARE_OK = 0x0028000b,
    CNY_EXCHANGE_DELETE_OK = 0x00280015,
    CNY_EXCHANGE_BIND = 0x0028001e,
    CNY_EXCHANGE_BIND_OK = 0x0028001f,
    CNY_EXCHANGE_UNBIND_OK = 0x00280033,
    CNY_QUEUE_DECLARE = 0x0032000a,
    CNY_QUEUE_DECLARE_OK = 0x0032000b,
    CNY_QUEUE_BIND = 0x00320014,
    CNY_QUEUE_BIND_OK = 0x00320015,
    CNY_QUEUE_PURGE_OK = 0x0032001f,
    CNY_QUEUE_DELETE_OK = 0x00320029,
    CNY_QUEUE_UNBIND_OK = 0x00320033,
    CNY_BASIC_QOS = 0x003c000a, /* this and the like: as the cause of a connection.close */
    CNY_BASIC_QOS_OK = 0x003c000b,
    CNY_BASIC_CONSUME = 0x003c0014,
    CNY_BASIC_CONSUME_OK = 0x003c0015,
    CNY_BASIC_CANCEL = 0x003c001e,
    CNY_BASIC_CANCEL_OK = 0x003c001f,
    CNY_BASIC_PUBLISH = 0x003c0028,
    CNY_BASIC_RETURN = 0x003c0032,
    CNY_BASIC_DELIVER = 0x003c003c,
    CNY_BASIC_GET_OK = 0x003c0047,
    CNY_BASIC_GET_EMPTY = 0x003c0048,
    CNY_BASIC_ACK = 0x003c0050,
    CNY_BASIC_NACK = 0x003c0078,
    CNY_CONFIRM_SELECT_OK = 0x0055000b,
    CNY_TX_SELECT = 0x005a000a,
    CNY_TX_SELECT_OK = 0x005a000b,
    CNY_TX_COMMIT_OK = 0x005a0015,
    CNY_TX_ROLLBACK_OK = 0x005a001f,
} cny_method;

/* ---- connect ---- */

typedef struct cny_wire cny_wire;

/* A message whose content header has come, and whose body may be on its way. */
typedef struct cny_announcement {
    uint32_t method; /* deliver, get-ok or return */
    uint16_t channel;
    uint64_t tag; /* of the delivery; 0 with a return */
    uint64_t body_bytes;
    size_t header_bytes; /* of the properties as they came */
    bool redelivered;
    bool is_here; /* the body was read already, as far as that is known without looking at each frame */
} cny_announcement;

/* What is kept of a message. What is not kept is skipped as it comes. */
typedef enum cny_admission {
    CNY_REFUSED, /* nothing, and no memory is taken for it: cny_wire_next() tells its method, channel and tag only */
    CNY_ADMITTED_WITHOUT_BODY, /* its properties: the message has lacks_body beside it */
    CNY_ADMITTED,
} cny_admission;

/* Whom a wire asks, on its thread and under no lock. */
typedef struct cny_wire_owner {
    void *self;
    /* What to keep of the message. NULL: all messages are admitted. */
    cny_admission (*admits)(void *self, const cny_announcement *announcement);
} cny_wire_owner;

typedef struct cny_wire_target {
    const char *host;
    int port;
    const char *user;
    const char *password;
    const char *vhost;
    const char *connection_name;
    const coney_table *client_properties; /* beside our own; may be NULL */
    const coney_tls_options *tls;         /* NULL: plain TCP */
    bool external;                        /* SASL EXTERNAL instead of PLAIN: user and password do not count */
    int timeout_ms;                       /* for each address of the host, from connect until logged in */
    int heartbeat_s;
    uint32_t frame_max;
    size_t max_message_bytes;
    cny_wire_owner owner;
} cny_wire_target;

/* What both sides agreed on. */
typedef struct cny_wire_limits {
    uint16_t channel_max;
    uint32_t frame_max;
    int heartbeat_s;    /* 0: none */
    int broker_version; /* as CNY_BROKER_VERSION() makes it; 0: the broker does not tell it */
} cny_wire_limits;

/* A version to compare with: CNY_BROKER_VERSION(4, 3) is that of RabbitMQ 4.3.6, too. */
#define CNY_BROKER_VERSION(major, minor) ((major)*1000 + (minor))

cny_wire *cny_wire_new(void);        /* NULL without memory; without descriptors it will not connect */
void cny_wire_close(cny_wire *wire); /* closes the socket without a word */
void cny_wire_free(cny_wire *wire);  /* closes it, too; takes NULL */

/* Tries the host's addresses in turn, connects and logs in. CONEY_E_CONNECT, _TIMEOUT,
 * _ACCESS_REFUSED, _NOT_ALLOWED, _PROTOCOL, _CLOSED (interrupted), _INVALID (client_properties too
 * large), _NO_MEMORY, _SYSTEM; another one if the broker closes with another code. */
coney_status cny_wire_connect(cny_wire *wire, const cny_wire_target *target);

/* The login was refused, and a person must change something: credentials, or a virtual host. Not if a limit on
 * connections was reached, because that ends by itself. */
bool cny_is_refused_login(const coney_error *error);

/* May another address or host succeed, after this thread's last error? */
bool cny_wire_next_may_do(void);

/* Sleeps until the socket has one of these events or an error (*seen says which), until cny_wire_wake() is called, or
 * until timeout_ms is over (-1: no limit). It may return earlier. CONEY_E_LOST if another part of the program has
 * closed a descriptor of the wire; CONEY_E_SYSTEM. */
coney_status cny_wire_poll(cny_wire *wire, short events, int timeout_ms, short *seen);

/* Ends a poll that is under way, or the next one. Any thread. */
void cny_wire_wake(cny_wire *wire);

/* Makes a connect that is under way fail with CONEY_E_CLOSED at once (in the resolver: as soon as that
 * returns), and later ones too. An open wire does not notice. Any thread. */
void cny_wire_interrupt(cny_wire *wire);

cny_wire_limits cny_wire_agreed(const cny_wire *wire);

/* ---- bytes ---- */

/* Writes what the socket takes at once; *written may be 0. CONEY_E_LOST, also if another part of the program has closed
 * the socket; so do the next functions. */
coney_status cny_wire_write(cny_wire *wire, const uint8_t *data, size_t size, size_t *written);

/* The same for several pieces, one after another. With TLS only the first piece is written. */
coney_status cny_wire_write_pieces(cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written);
bool cny_wire_takes_pieces(const cny_wire *wire);

/* Another thread may write while the I/O thread polls. Not with TLS, whose reading and writing share state. */
bool cny_wire_takes_other_writers(const cny_wire *wire);

/* Reads what is there at once; *received may be 0. CONEY_E_LOST (also at the end of the stream). */
coney_status cny_wire_read(cny_wire *wire, size_t *received);

/* There is something to read although poll() may not see it: TLS holds back bytes or the end. */
bool cny_wire_has_input(const cny_wire *wire);

/* ---- what the broker says ---- */

typedef struct cny_incoming {
    uint32_t method; /* 0: a heartbeat */
    uint16_t channel;
    uint16_t code;           /* close, return */
    uint32_t cause;          /* close: the method the broker refuses, 0 if none */
    char text[256];          /* close, return, blocked: reason; declare-ok: queue; consume-ok: tag */
    uint64_t tag;            /* ack, nack; deliver and get-ok: the delivery's */
    bool multiple;           /* ack, nack */
    uint32_t message_count;  /* queue.declare-ok, purge-ok, delete-ok */
    uint32_t consumer_count; /* queue.declare-ok */
    bool lacks_body;         /* the owner wanted the message without it */
    coney_message *message;  /* deliver, get-ok, return: the receiver's to unref; NULL if the owner refused it */
} cny_incoming;

/* The next method, message or heartbeat in the bytes that were read; *complete is false if the bytes hold no whole one.
 * After CONEY_E_PROTOCOL (the error says what was wrong) and CONEY_E_NO_MEMORY the wire can only be closed. */
coney_status cny_wire_next(cny_wire *wire, cny_incoming *incoming, bool *complete);

/* The status for an AMQP reply code. */
coney_status cny_reply_status(int code);

/* ---- what we say ---- */

/* All return CONEY_OK, CONEY_E_INVALID or CONEY_E_NO_MEMORY. */
coney_status cny_encode_heartbeat(cny_buffer *out);
coney_status cny_encode_connection_close(cny_buffer *out);
coney_status cny_encode_connection_close_ok(cny_buffer *out);
coney_status cny_encode_update_secret(cny_buffer *out, const char *secret); /* must fit a frame */
coney_status cny_encode_channel_open(cny_buffer *out, uint16_t channel);
coney_status cny_encode_channel_close(cny_buffer *out, uint16_t channel);
coney_status cny_encode_channel_close_ok(cny_buffer *out, uint16_t channel);
coney_status cny_encode_confirm_select(cny_buffer *out, uint16_t channel);
coney_status cny_encode_tx_select(cny_buffer *out, uint16_t channel);
coney_status cny_encode_tx_commit(cny_buffer *out, uint16_t channel);
coney_status cny_encode_tx_rollback(cny_buffer *out, uint16_t channel);

/* With passive the broker only tells whether the queue or exchange is there. */
coney_status cny_encode_queue_declare(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_queue *queue,
                                      bool passive);
coney_status cny_encode_exchange_declare(cny_buffer *out, uint16_t channel, uint32_t frame_max,
                                         const coney_exchange *exchange, bool passive);
coney_status cny_encode_bind(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_binding *binding);
coney_status cny_encode_unbind(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_binding *binding);
coney_status cny_encode_queue_purge(cny_buffer *out, uint16_t channel, const char *queue);
coney_status cny_encode_queue_delete(cny_buffer *out, uint16_t channel, const char *queue, bool if_unused,
                                     bool if_empty);
coney_status cny_encode_exchange_delete(cny_buffer *out, uint16_t channel, const char *exchange, bool if_unused);

coney_status cny_encode_qos(cny_buffer *out, uint16_t channel, uint16_t prefetch);
coney_status cny_encode_consume(cny_buffer *out, uint16_t channel, uint32_t frame_max, const cny_consume *consume);
coney_status cny_encode_get(cny_buffer *out, uint16_t channel, const char *queue);
coney_status cny_encode_cancel(cny_buffer *out, uint16_t channel, const char *consumer_tag);
coney_status cny_encode_ack(cny_buffer *out, uint16_t channel, uint64_t tag, bool multiple);
coney_status cny_encode_reject(cny_buffer *out, uint16_t channel, uint64_t tag, bool requeue);
coney_status cny_encode_nack(cny_buffer *out, uint16_t channel, uint64_t tag, bool multiple, bool requeue);

/* basic.publish and the content header: only in these can a message be invalid. */
coney_status cny_encode_publish(cny_buffer *out, uint16_t channel, uint32_t frame_max, const char *exchange,
                                const char *routing_key, bool mandatory, const coney_message *message);

/* The body in as many frames as it takes. */
size_t cny_body_frames_size(size_t body_size, uint32_t frame_max);
coney_status cny_encode_body(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_message *message);

enum { CNY_FRAME_OVERHEAD = 8 }; /* header and end octet */

/* The bytes of a frame before and after `size` bytes of a body; the buffer must have room. */
void cny_encode_body_head(cny_buffer *out, uint16_t channel, size_t size);
void cny_encode_frame_end(cny_buffer *out);
size_t cny_body_frame_count(size_t body_size, uint32_t frame_max);

#endif
