/* SPDX-License-Identifier: MIT */
/* The way to a broker: two connections, which are made on first use and kept from then on. (Spring:
 * CachingConnectionFactory with usePublisherConnection.)
 *
 * One connection publishes; the other connection consumes and declares. So a broker that holds back publishers never
 * stops a consumer. A lost connection is made again until it is open or the broker refuses the login: first the
 * topology is declared, then consumers resume, then publishers. (A thing that cannot be declared yet holds up only
 * those who publish to it; see admin.h.) Calls that need a connection wait for it, at most until their deadline.
 * docs/reliability.md tells what happens to work in flight.
 *
 * Nothing that was made with a factory may be used in a child of fork(): calls return CONEY_E_STATE there, and free
 * functions do nothing. */
#ifndef CONEY_RABBIT_CONNECTION_FACTORY_H
#define CONEY_RABBIT_CONNECTION_FACTORY_H

#include <coney/amqp/status.h>
#include <coney/amqp/topology.h>
#include <coney/amqp/value.h>
#include <coney/rabbit/declaration.h>
#include <coney/rabbit/tls.h>

CONEY_BEGIN

typedef struct coney_connection_factory coney_connection_factory;

/* ---- state ---- */

typedef enum coney_connection_role { CONEY_CONSUMING, CONEY_PUBLISHING } coney_connection_role;

typedef enum coney_connection_state {
    CONEY_CONNECTION_IDLE,       /* No call has needed the connection yet. */
    CONEY_CONNECTION_CONNECTING, /* Or waiting for the next attempt. */
    CONEY_CONNECTION_OPEN,
    CONEY_CONNECTION_FAILED, /* Given up: see coney_recovery_options. coney_connection_factory_connect() tries again. */
    CONEY_CONNECTION_CLOSED, /* The program has closed the factory. */
} coney_connection_state;

typedef struct coney_connection_info {
    coney_connection_role role;
    coney_connection_state state;
    bool blocked;                    /* The broker holds back publishers (AMQP: connection.blocked). */
    int attempt;                     /* Number of the attempt to connect; 0 while the connection is open. */
    coney_status reason;             /* Why the connection is not open, or why the last one was lost; CONEY_OK if no
                                        connection was ever lost or refused. */
    uint64_t times_opened;           /* 1, and 1 more for each recovery. */
    uint64_t stale_acknowledgements; /* Acknowledgements that were not sent, because their channel was gone. */
    char text[1024];                 /* Such as "connecting to b:5672, attempt 7, last: ... Connection refused". */
} coney_connection_info;

typedef struct coney_channel_info {
    coney_connection_role role;
    uint16_t number;
    bool open;           /* True: the channel was opened. False: the channel is gone. */
    coney_status reason; /* Why the channel is gone; CONEY_E_CLOSED if the program or Coney has closed it. */
    int broker_code;     /* Such as 404; 0 if the broker did not close the channel. */
    char text[512];
} coney_channel_info;

/* Run on the factory's events thread, with no Coney lock held, in the order in which things happened. info is a view
 * for the call. (Spring: ConnectionListener, ChannelListener, BlockedListener.) */
typedef void coney_connection_listener(const coney_connection_info *info, void *user);
typedef void coney_channel_listener(const coney_channel_info *info, void *user);

/* ---- options ---- */

/* The pauses between attempts to connect. After a loss, or after a failed attempt, the next attempt begins after
 * first_delay_ms. Each failure multiplies the pause, up to max_delay_ms. Each pause is shortened by up to half, at
 * random, so that a thousand clients do not come back in the same moment. An attempt goes through all hosts. If the URI
 * has several hosts, the first attempt after a loss begins within 100 ms; the pauses begin when that attempt has failed
 * on all hosts, or when its connection was lost sooner than first_delay_ms. */
typedef struct coney_recovery_options {
    int first_delay_ms;       /* Default: 1,000. */
    int max_delay_ms;         /* Default: 5,000. */
    double multiplier;        /* Default: 2. */
    int max_attempts;         /* Failed attempts in a row after which the factory gives up. Default: no limit. */
    bool retry_refused_login; /* Do not give up over wrong credentials or a missing virtual host. */
} coney_recovery_options;

/* The order in which an attempt tries the hosts of the URI. The first attempt after a loss tries the host of the lost
 * connection first, and then the others in this order. (Spring: AddressShuffleMode.) */
typedef enum coney_host_order {
    CONEY_HOSTS_IN_ORDER, /* Each attempt begins with the first host of the URI. */
    CONEY_HOSTS_ROTATE,   /* Each attempt begins with the host after the last one that worked. */
    CONEY_HOSTS_SHUFFLE,  /* A random order for each attempt. */
} coney_host_order;

typedef enum coney_sasl_mechanism {
    CONEY_SASL_PLAIN,    /* User and password. */
    CONEY_SASL_EXTERNAL, /* The client's TLS certificate. The URI's user and password are not used. */
} coney_sasl_mechanism;

/* Texts are borrowed until the provider is called again or the factory is freed. */
typedef struct coney_credentials {
    const char *user;     /* NULL: the URI's user. */
    const char *password; /* Or an OAuth 2 token. NULL: the URI's password. */
    int valid_for_s;      /* After four fifths of this time the provider is asked again, and the broker gets the new
                             secret (AMQP: connection.update-secret). 0: valid for ever. */
} coney_credentials;

/* Gives the credentials for a connection. Called before each attempt to connect, on the factory's recovery thread with
 * no lock held; nothing recovers while the provider runs. Any status but CONEY_OK fails the attempt;
 * CONEY_E_ACCESS_REFUSED counts as a refused login. (Spring: CredentialsProvider.) */
typedef coney_status coney_credentials_provider(coney_credentials *credentials, void *user);

/* Zero means the default. A value in the URI overrides the value here. */
typedef struct coney_connection_factory_options {
    /* Shown in the management UI. Default: "program@host#pid". */
    const char *connection_name;

    /* Shown in the management UI, in addition to Coney's own properties. */
    const coney_table *client_properties;

    /* For one address, from connecting to login. Default: 10,000. With several hosts take a fraction of the time that
     * calls may wait. */
    int connection_timeout_ms;

    /* For coney_connection_factory_close() and _free(). Default: 5,000. */
    int close_timeout_ms;

    /* Proposed to the broker. Default: 10. Below 0: no heartbeats. A broker that is silent is noticed after one and a
     * half to two times this. */
    int heartbeat_s;

    /* Bytes, proposed to the broker. Default: 131,072. RabbitMQ 4.1 requires 8,192 or more. Coney sends no larger
     * frames. Incoming content headers may have up to 1 MiB whatever was agreed, because RabbitMQ adds headers to
     * messages and sends them in larger frames. */
    uint32_t frame_max;

    /* A larger incoming body is skipped, and its message is rejected. Default: 64 MiB. */
    size_t max_message_bytes;

    /* Bytes that wait to be written. At the limit senders wait. Default: 16 MiB. */
    size_t max_outbound_bytes;

    coney_host_order host_order;
    coney_recovery_options recovery;

    /* For an amqps:// URI. NULL: all defaults. */
    const coney_tls_options *tls;

    /* No warning that amqp:// shows the password to the network between this host and the broker. */
    bool trusted_network;

    coney_sasl_mechanism sasl;

    /* Instead of the URI's user and password. */
    coney_credentials_provider *credentials;
    void *credentials_user;

    coney_connection_listener *on_connection;   /* A connection has changed its state, or was blocked or unblocked. */
    coney_channel_listener *on_channel;         /* A channel was opened, or is gone. */
    coney_declaration_listener *on_declaration; /* A declaration was refused, or has succeeded after a refusal. */
    void *listener_user;                        /* For the three listeners above. */
} coney_connection_factory_options;

/* ---- life ---- */

/* Makes a factory; nothing is connected yet. The URI is
 *   amqp://user:password@host:port/vhost?heartbeat=S&connection_timeout=MS&frame_max=BYTES
 * with %XX for special characters. User and password are guest if both are left out; the default port is 5672, the
 * default virtual host "/". Several hosts are written as host1:port1,host2:port2; an IPv6 address as [::1]:port, or
 * with its zone as [fe80::1%25eth0]:port. amqps:// is the same over TLS, with port 5671.
 *
 * Over amqp:// anyone who listens on the way reads the password and all messages. Unless all hosts are this machine
 * (localhost, 127.0.0.0/8, ::1) or trusted_network is set, the factory logs one warning of that.
 *
 * uri and options are copied; options may be NULL. Callbacks, listeners and the credentials provider run with the
 * signal mask of the thread that calls this; internal threads leave signals to the program (docs/threading.md). Any
 * thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM.
 * - CONEY_E_INVALID: the sentence tells which part of the URI or which option. */
CONEY_API coney_status coney_connection_factory_new(coney_connection_factory **factory, const char *uri,
                                                    const coney_connection_factory_options *options);

/* Makes both connections now, to learn of a wrong password or host at once. Returns as soon as both are open, or an
 * attempt of one of them has failed; further attempts follow in the background. Takes at most connection_timeout_ms for
 * each address that is tried (eight for each host), and a second. After CONEY_CONNECTION_FAILED the attempts begin
 * again. Any thread, but not from the credentials provider, because the connections wait for the provider.
 * - CONEY_OK: both connections are open.
 * - CONEY_E_CONNECT (problems with TLS included), CONEY_E_TIMEOUT, CONEY_E_PROTOCOL, CONEY_E_LOST: the attempt failed.
 * - CONEY_E_ACCESS_REFUSED: the broker refused the login.
 * - CONEY_E_NOT_ALLOWED: the broker refused the virtual host.
 * - CONEY_E_STATE: called from the credentials provider, or after fork().
 * - CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM.
 * These statuses, and CONEY_E_LIMIT if all channels of a connection are in use, are "the statuses of connecting" in
 * other headers. Calls that wait for a connection return CONEY_E_CONNECT at their deadline. */
CONEY_API coney_status coney_connection_factory_connect(coney_connection_factory *factory);

/* Tells the state of a connection now. Any thread.
 * - CONEY_OK: *info is filled in.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_connection_factory_info(coney_connection_factory *factory, coney_connection_role role,
                                                     coney_connection_info *info);

/* Gives a copy of all that the admins and running listeners of the factory declare, for a picture or a file; the caller
 * frees it. Any thread. CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY; CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_connection_factory_topology(coney_connection_factory *factory, coney_topology **topology);

/* Calls visit for each thing that admins with a topology and running listeners declare, with its state now, on the
 * calling thread with no lock held. Any thread.
 * - CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_connection_factory_list_declarations(coney_connection_factory *factory,
                                                                  coney_declaration_listener *visit, void *user);

/* Ends everything in order: containers stop (their handlers finish and may still send, other threads may not), the
 * messages of templates are confirmed, acknowledgements are written, both connections close. All steps together take at
 * most close_timeout_ms. Then all calls on objects of the factory return CONEY_E_CLOSED, and messages that are still
 * unconfirmed complete with that status. Any thread, but not from a callback or handler. May be called again; a further
 * call only waits for the first one, so its CONEY_OK does not say that everything has ended (docs/threading.md).
 * - CONEY_OK, also if only the broker did not answer the close in time: nothing is lost by that.
 * - CONEY_E_TIMEOUT: the sentence tells what did not end in time.
 * - CONEY_E_STATE: called from a callback or handler, or after fork().
 * - The reason why the connection was given up, if messages are kept or stored. */
CONEY_API coney_status coney_connection_factory_close(coney_connection_factory *factory);

/* Closes the factory unless it is closed, and frees it. Containers, templates and admins keep what they need of the
 * factory; they may be freed before or after it. Not from a callback or handler. Takes NULL.
 *
 * When everything that was made with the factory is freed, none of Coney's threads runs any more, and the program may
 * unload Coney. The exception is a thread that cannot be waited for within close_timeout_ms, because it resolves a
 * name, or runs a callback, a handler or the credentials provider. Such a thread ends later, which the log says. What
 * the thread needs is kept, and Coney's code stays loaded until the process ends, also after dlclose(). The code of the
 * callback, and the object of its user pointer, must stay as long. Not from a destructor that dlclose() runs. */
CONEY_API void coney_connection_factory_free(coney_connection_factory *factory);

CONEY_END

#endif
