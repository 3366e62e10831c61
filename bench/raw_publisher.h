/* SPDX-License-Identifier: MIT */
/* Publishing with rabbitmq-c's own calls: the yardstick. */
#ifndef BENCH_RAW_PUBLISHER_H
#define BENCH_RAW_PUBLISHER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct raw_publisher raw_publisher;

/* Connects by an amqp:// URI and switches confirms on; NULL after printing why not. */
raw_publisher *raw_publisher_new(const char *uri);
void raw_publisher_free(raw_publisher *raw);

/* Publishes bodies of that size, never more than window of them unconfirmed, and waits for the
 * confirms. False after printing why not. */
bool raw_publisher_send(raw_publisher *raw, const char *exchange, const char *routing_key, size_t size, int messages,
                        int window);

#endif
