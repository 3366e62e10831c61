/* SPDX-License-Identifier: MIT */
/* Requests by rabbitmq-c's calls over direct reply-to, and the server that answers them. */
#ifndef BENCH_RAW_RPC_H
#define BENCH_RAW_RPC_H

#include <stdbool.h>
#include <stddef.h>

/* A server answers on a thread of its own, from the queue, which it declares, until it is freed. A caller asks by this
 * queue. NULL: it cannot, which is printed. Takes NULL. */
typedef struct raw_rpc raw_rpc;
raw_rpc *raw_rpc_server(const char *uri, const char *queue);
raw_rpc *raw_rpc_caller(const char *uri, const char *queue);
void raw_rpc_free(raw_rpc *raw);

/* Sends a request and waits for its reply. */
bool raw_rpc_ask(raw_rpc *raw, const void *body, size_t size);

#endif
