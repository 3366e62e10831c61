/* SPDX-License-Identifier: MIT */
/* What the publisher and the consumer of rabbitmq-c's side share. All functions print why they fail. */
#ifndef BENCH_RAW_CONNECTION_H
#define BENCH_RAW_CONNECTION_H

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp.h>
#include <amqp_framing.h>
#else
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#endif

#include <stdbool.h>

#define RAW_CHANNEL 1 /* the only one of a connection */

/* Connects by an amqp:// URI; with a ca_file by TLS, to tls_port. No channel is open yet. NULL: it cannot. The
 * caller's, to be given to amqp_destroy_connection(). */
amqp_connection_state_t raw_connect(const char *uri, const char *ca_file, int tls_port);

bool raw_fail(const char *what, int status); /* false */

/* Whether the broker answered the call that was made last. */
bool raw_check_reply(amqp_connection_state_t state, const char *what);

#endif
