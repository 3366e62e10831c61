/* SPDX-License-Identifier: MIT */
/* Publishing with rabbitmq-c's own calls: the yardstick. All functions print why they fail. */
#ifndef BENCH_RAW_PUBLISHER_H
#define BENCH_RAW_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct raw_publisher raw_publisher;

/* What and where to. Names are kept by reference. */
typedef struct raw_target {
    const char *exchange;
    const char *routing_key;
    bool mandatory;
    bool persistent;
} raw_target;

/* Connects by an amqp:// URI; with a ca_file by TLS, to tls_port. Confirms are as asked for. */
raw_publisher *raw_publisher_new(const char *uri, const char *ca_file, int tls_port, bool confirms);
void raw_publisher_free(raw_publisher *raw);

bool raw_publisher_declare_queue(raw_publisher *raw, const char *name, bool quorum);
bool raw_publisher_purge(raw_publisher *raw, const char *queue, int *removed); /* removed may be NULL */
bool raw_publisher_delete(raw_publisher *raw, const char *queue);

/* Never more than window of them unconfirmed; returns when all are confirmed. */
bool raw_publisher_send(raw_publisher *raw, const raw_target *target, const void *body, size_t size, int messages,
                        int window);

/* Without confirms; returns when the broker has answered a call behind them. */
bool raw_publisher_send_and_forget(raw_publisher *raw, const raw_target *target, const void *body, size_t size,
                                   int messages);

#endif
