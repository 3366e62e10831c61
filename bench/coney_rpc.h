/* SPDX-License-Identifier: MIT */
/* Requests by Coney, and the server that answers them: one listener with one consumer. */
#ifndef BENCH_CONEY_RPC_H
#define BENCH_CONEY_RPC_H

#include "cases.h"

#include <coney/coney.h>

/* Declares the queue and serves it; NULL: it cannot, as coney_last_error() tells. Free the container. */
coney_container *coney_rpc_serve(coney_connection_factory *factory, coney_admin *admin);

/* The template of a caller. NULL: as above. */
coney_template *coney_rpc_caller(coney_connection_factory *factory);

/* Asks so often, one by one or many at a time. each_us may be NULL. */
bool coney_rpc_ask(coney_template *caller, coney_message *request, int requests, double *each_us);
bool coney_rpc_ask_many(coney_template *caller, coney_message *request, int requests, int outstanding);

#endif
