/* SPDX-License-Identifier: MIT */
/* Requests and their replies: sends requests, and waits for the reply of each.
 *
 * This room knows no templates. Its owner hands in the message as it is to be sent, and is called back for what it
 * does with replies. A request is a *call* from its sending to its end; coney_request is the program's name for it. */
#ifndef CNY_RPC_H
#define CNY_RPC_H

#include "amqp/amqp.h"
#include "rabbit/factory/factory.h"

#include <coney/rabbit/request.h>

typedef struct cny_rpc cny_rpc;
typedef struct coney_request cny_call;

/* What the requests need of their owner. Any thread may call these functions, with no lock held but for ref(). */
typedef struct cny_rpc_owner {
    void (*ref)(void *self); /* while calls exist, so does the owner, and with it the cny_rpc */
    void (*unref)(void *self);
    coney_status (*receive)(void *self, coney_message **reply); /* runs the processors for received messages */
} cny_rpc_owner;

typedef struct cny_rpc_parts {
    coney_connection_factory *factory; /* the owner keeps it */
    const cny_rpc_owner *owner;
    void *self;
    int max_unconfirmed;
    coney_flow flow;
} cny_rpc_parts;

/* CONEY_E_INVALID. */
coney_status cny_rpc_check_options(const coney_rpc_options *options);

/* Copies the options and fills in the defaults. CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
coney_status cny_rpc_new(cny_rpc **rpc, const cny_rpc_parts *parts, const coney_rpc_options *options);
void cny_rpc_free(cny_rpc *rpc); /* after cny_rpc_close(), and without calls; takes NULL */

/* ---- its part in the owner's membership of the factory ---- */

int64_t cny_rpc_tick(cny_rpc *rpc, int64_t now);
coney_status cny_rpc_drain(cny_rpc *rpc, int64_t deadline); /* waits until all calls have ended; CONEY_E_TIMEOUT */

/* Ends all calls with CONEY_E_CLOSED and this reason, and refuses others. */
void cny_rpc_abandon(cny_rpc *rpc, const char *reason);

/* The same, closes the channels, and waits until all callbacks have returned. False: one has not by the deadline. */
bool cny_rpc_close(cny_rpc *rpc, int64_t deadline);

/* ---- calls ---- */

/* How the end of a call is told. */
typedef struct cny_call_request {
    cny_publish publish;     /* the message as it is to be sent; callbacks and the like do not count */
    coney_message *original; /* as the program gave it: its correlation id and reply_to come back with the reply */
    int64_t deadline;
    bool synchronous;                 /* the caller waits by cny_call_wait() at once */
    coney_request_callback *callback; /* NULL: somebody waits */
    void *user;
} cny_call_request;

/* Sends the request, and gives a reference to the call, unless there is a callback. Statuses of coney_template_send()
 * for a message that was not sent, CONEY_E_LIMIT and CONEY_E_CIRCUIT_OPEN. */
coney_status cny_rpc_send(cny_rpc *rpc, const cny_call_request *request, cny_call **call);

/* Waits for the end of a synchronous call, which comes at its deadline at the latest, and returns how it has ended.
 * Gives the reply. */
coney_status cny_call_wait(cny_call *call, coney_message **reply);
void cny_call_unref(cny_call *call);

int cny_rpc_timeout_ms(const cny_rpc *rpc); /* for a request that names none */
void cny_rpc_count_retry(cny_rpc *rpc);
void cny_rpc_statistics(cny_rpc *rpc, coney_rpc_statistics *statistics);
coney_circuit_state cny_rpc_circuit(cny_rpc *rpc, const char *exchange, const char *routing_key);

#endif
