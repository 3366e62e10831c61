/* SPDX-License-Identifier: MIT */
/* The way to a broker: two connections, made on first use and kept from then on. (Spring:
 * CachingConnectionFactory with usePublisherConnection.)
 *
 * One connection publishes and one consumes and declares, so that a broker that holds back
 * publishers never stops a consumer. A lost connection is made again until it is there or the
 * broker refuses the login: first the topology is declared, then consumers resume, then
 * publishers. (What cannot be declared yet holds up those who publish to it, and nobody else; see admin.h.) Calls that
 * need a connection wait for it as long as their deadline allows. What happens to work in flight is in
 * docs/reliability.md.
 *
 * Nothing made with a factory may be used in a child of fork(): calls answer CONEY_E_STATE there,
 * and free functions do nothing. */
#ifndef CONEY_RABBIT_CONNECTION_FACTORY_H
#define CONEY_RABBIT_CONNECTION_FACTORY_H

#include <coney/amqp/status.h>
#include <coney/amqp/value.h>
#include <coney/rabbit/declaration.h>
#include <coney/rabbit/tls.h>

CONEY_BEGIN

typedef struct coney_connection_factory coney_connection_factory;

/* ---- state ---- */

typedef enum coney_connection_role { CONEY_CONSUMING, CONEY_PUBLISHING } coney_connection_role;

typedef enum coney_connection_state {
    CONEY_CONNECTION_IDLE,       /* nobody has needed it yet */
    CONEY_CONNECTION_CONNECTING, /* or about to try again */
    CONEY_CONNECTION_OPEN,
    CONEY_CONNECTION_FAILED, /* given up: see coney_recovery_options. connect() tries again */
    CONEY_CONNECTION_CLOSED, /* by the program */
} coney_connection_state;

typedef struct coney_connection_info {
    coney_connection_role role;
    coney_connection_state state;
    bool blocked;                    /* the broker holds back publishers */
    int attempt;                     /* of the connecting under way; 0 while open */
    coney_status reason;             /* why it is not open, or was lost last; CONEY_OK: it never was */
    uint64_t times_opened;           /* 1 and one for each recovery */
    uint64_t stale_acknowledgements; /* not sent, because their channel was gone */
    char text[1024];                 /* "connecting to b:5672, attempt 7, last: ... Connection refused" */
} coney_connection_info;

typedef struct coney_channel_info {
    coney_connection_role role;
    uint16_t number;
    bool open;           /* it was opened; else it is gone */
    coney_status reason; /* why it is gone; CONEY_E_CLOSED if the program or Coney closed it */
    int broker_code;     /* 404, for example; 0 if the broker did not close it */
    char text[512];
} coney_channel_info;

/* Run on the factory's events thread, with no Coney lock held, in the order of what happened.
 * info is a view for the call. (Spring: ConnectionListener, ChannelListener, BlockedListener.) */
typedef void coney_connection_listener(const coney_connection_info *info, void *user);
typedef void coney_channel_listener(const coney_channel_info *info, void *user);

/* ---- options ---- */

/* After a loss or a failed attempt the next attempt follows after first_delay_ms, multiplied after
 * each failure up to max_delay_ms, less a random part of up to a half, so that a thousand clients do
 * not come back in the same moment. An attempt goes through all hosts. If the URI has several, the first attempt
 * after a loss begins within 100 ms, and the delays begin when that attempt has failed on all of them, or when the
 * connection it made was lost sooner than first_delay_ms. */
typedef struct coney_recovery_options {
    int first_delay_ms;       /* 1,000 */
    int max_delay_ms;         /* 5,000 */
    double multiplier;        /* 2 */
    int max_attempts;         /* that fail one after another until it gives up; 0: any number */
    bool retry_refused_login; /* wrong credentials or a missing virtual host are no reason to give up */
} coney_recovery_options;

/* In which order an attempt tries the hosts of the URI. The first attempt after a loss tries the host that was lost
 * last, and the others in this order. (Spring: AddressShuffleMode.) */
typedef enum coney_host_order {
    CONEY_HOSTS_IN_ORDER, /* each attempt begins with the first of the URI */
    CONEY_HOSTS_ROTATE,   /* with the host after the last that worked */
    CONEY_HOSTS_SHUFFLE,  /* in a random order, drawn for each attempt */
} coney_host_order;

typedef enum coney_sasl_mechanism {
    CONEY_SASL_PLAIN,    /* user and password */
    CONEY_SASL_EXTERNAL, /* the client's TLS certificate; the URI's user and password are not used */
} coney_sasl_mechanism;

/* Texts are borrowed until the provider is called again or the factory is gone. */
typedef struct coney_credentials {
    const char *user;     /* NULL: the URI's */
    const char *password; /* or an OAuth 2 token; NULL: the URI's */
    int valid_for_s;      /* asked again after four fifths of it, and the broker is told
                             (connection.update-secret); 0: for ever */
} coney_credentials;

/* Asked before each connection is made, on the factory's recovery thread with no lock held; while
 * it runs nothing recovers. Anything but CONEY_OK fails the attempt; CONEY_E_ACCESS_REFUSED counts
 * as a refused login. (Spring: CredentialsProvider.) */
typedef coney_status coney_credentials_provider(coney_credentials *credentials, void *user);

/* Zero means the default; a value in the URI wins over one here. */
typedef struct coney_connection_factory_options {
    const char *connection_name;          /* shown in the management UI; "program@host#pid" */
    const coney_table *client_properties; /* shown there, too, beside Coney's own */
    int connection_timeout_ms;            /* for one address, until logged in; 10,000. With several hosts better a
                                             fraction of what calls may wait */
    int close_timeout_ms;                 /* for close and free; 5,000 */
    int heartbeat_s;           /* proposed to the broker; 10. Below 0: none. A broker that is silent is noticed
                                             after one and a half to two of these */
    uint32_t frame_max;        /* bytes, proposed to the broker; 131,072. RabbitMQ 4.1 wants 8,192 or more. What is
                                             sent keeps to it. Content headers are read up to 1 MiB whatever was
                                             agreed, because RabbitMQ adds headers to messages and sends them so */
    size_t max_message_bytes;  /* a larger incoming body is not kept but rejected; 64 MiB */
    size_t max_outbound_bytes; /* not yet written; more makes senders wait; 16 MiB */
    coney_host_order host_order;
    coney_recovery_options recovery;
    const coney_tls_options *tls; /* for an amqps:// URI; NULL: all defaults */
    bool trusted_network; /* no warning that amqp:// shows the password to the network between here and the broker */
    coney_sasl_mechanism sasl;
    coney_credentials_provider *credentials; /* instead of the URI's user and password */
    void *credentials_user;
    coney_connection_listener *on_connection; /* a state has changed, blocked included */
    coney_channel_listener *on_channel;
    coney_declaration_listener *on_declaration; /* a declaration was refused, or has succeeded after all */
    void *listener_user;
} coney_connection_factory_options;

/* ---- life ---- */

/* Makes a factory; nothing is connected yet. The URI is
 *   amqp://user:password@host:port/vhost?heartbeat=S&connection_timeout=MS&frame_max=BYTES
 * with %XX for special characters; user and password are guest if both are left out, the port is 5672 and the virtual
 * host "/" if left out; several hosts stand as host1:port1,host2:port2, and an address of IPv6 as [::1]:port or, with
 * its zone, as [fe80::1%25eth0]:port. amqps:// is the same over
 * TLS, with port 5671. Over amqp:// anyone who listens on the way reads the password and all messages. Unless all
 * hosts are this one (localhost, 127.0.0.0/8, ::1) or trusted_network is set, the factory logs one warning of that.
 * Copies uri and options (which may be NULL). Callbacks, listeners and the credentials provider run with the signal
 * mask of the thread that calls this; internal threads leave signals to the program (docs/threading.md). Any thread.
 * CONEY_E_INVALID (which part of the URI or which option), CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
CONEY_API coney_status coney_connection_factory_new(coney_connection_factory **factory, const char *uri,
                                                    const coney_connection_factory_options *options);

/* Connects both connections now instead of on first use, to learn of a wrong password or host at
 * once: it returns as soon as both are open or an attempt of one has failed, with the reason;
 * attempts go on behind it. It takes at most connection_timeout_ms for each address that is tried (eight for each
 * host) and a second. After CONEY_CONNECTION_FAILED it tries again. Any thread, but not from the credentials provider,
 * which the connections wait for (CONEY_E_STATE). These
 * statuses, and CONEY_E_LIMIT when all channels of a connection are in use, are what other headers call
 * the statuses of connecting; other calls answer CONEY_E_CONNECT when their deadline ends the waiting.
 * CONEY_E_CONNECT (TLS included), CONEY_E_TIMEOUT, CONEY_E_ACCESS_REFUSED, CONEY_E_NOT_ALLOWED (virtual
 * host), CONEY_E_PROTOCOL, CONEY_E_LOST, CONEY_E_CLOSED, CONEY_E_STATE, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
CONEY_API coney_status coney_connection_factory_connect(coney_connection_factory *factory);

/* How a connection is doing, now. Any thread. CONEY_OK, CONEY_E_INVALID, CONEY_E_STATE. */
CONEY_API coney_status coney_connection_factory_info(coney_connection_factory *factory, coney_connection_role role,
                                                     coney_connection_info *info);

/* Calls visit for everything that is to be declared, by admins with a topology and by listeners that run, on the
 * calling thread with no lock held: how each thing stands now. Any thread. CONEY_E_INVALID, CONEY_E_STATE (after
 * fork()), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_connection_factory_list_declarations(coney_connection_factory *factory,
                                                                  coney_declaration_listener *visit, void *user);

/* Ends it in order, within close_timeout_ms for all steps together: containers stop (their handlers
 * finish and may still send, other threads not), what templates have sent is confirmed,
 * acknowledgements are written, both connections close. Afterwards calls on all that was made with
 * the factory answer CONEY_E_CLOSED, and sends that are not confirmed by then complete with it. Any
 * thread, but not from a callback or handler (CONEY_E_STATE). It may be called again, and then waits for the first call
 * only: CONEY_OK does not say then that what did not end in time has ended (docs/threading.md).
 * CONEY_OK, also if only the broker did not answer the close in time: nothing is lost by that; CONEY_E_TIMEOUT:
 * what did not end in time is in the sentence; if messages are kept or stored and the connection was given up, the
 * status of that. */
CONEY_API coney_status coney_connection_factory_close(coney_connection_factory *factory);

/* Closes if that has not been done. Containers, templates and admins keep what they need of the
 * factory, and may be freed before or after it. Not from a callback or handler. Takes NULL.
 *
 * Once all that was made is freed, none of Coney's threads runs, and the program may unload Coney. A thread that cannot
 * be waited for within close_timeout_ms (it resolves a name, or runs a callback, a handler or the credentials provider)
 * ends later, which the log says. It keeps what it needs, and Coney's code stays loaded until the process ends,
 * whatever dlclose() is called for. The code of the callback and what its user pointer names must stay as long. Not
 * from a destructor that dlclose() runs. */
CONEY_API void coney_connection_factory_free(coney_connection_factory *factory);

CONEY_END

#endif
