/* SPDX-License-Identifier: MIT */
/* Coney's listeners, for the cases that consume. All functions leave the reason in coney_last_error(). */
#ifndef BENCH_CONEY_CONSUMER_H
#define BENCH_CONEY_CONSUMER_H

#include "cases.h"

#include <coney/coney.h>

typedef struct coney_consumer coney_consumer;

/* For the case's queue. The sender, which is borrowed, relays; else it may be NULL. */
coney_consumer *coney_consumer_new(const bench_case *one, coney_connection_factory *factory, coney_template *sender);
void coney_consumer_free(coney_consumer *consumer); /* takes NULL */

/* Starts, and returns when that many messages are handled. */
bool coney_consumer_handle(coney_consumer *consumer, int messages);
bool coney_consumer_stop(coney_consumer *consumer);

/* A container with the case's listeners, each on its queue, made and started. */
bool coney_consumer_listen(const bench_case *one, coney_connection_factory *factory, coney_container **container);

#endif
