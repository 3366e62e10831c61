/* SPDX-License-Identifier: MIT */
/* rabbitmq-c's side of every case. */
#include "raw_publisher.h"
#include "side.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct raw_side {
    const bench_case *one;
    raw_publisher *publisher;
    raw_publisher *consumer;
    raw_target target;
    char queue[96];
    char *body;
    json_t *object;
} raw_side;

static bool prepare(raw_side *side)
{
    const bench_case *one = side->one;
    snprintf(side->queue, sizeof side->queue, "coney.bench.%s.raw", one->name);
    side->target = (raw_target){
        .exchange = one->unrouted ? BENCH_FANOUT : "",
        .routing_key = side->queue,
        .mandatory = !one->unrouted,
        .persistent = one->quorum,
    };
    if (!one->unrouted && !raw_publisher_declare_queue(side->publisher, side->queue, one->quorum))
        return false;
    return (one->mode != BENCH_STARTUP && one->mode != BENCH_IDLE) ||
           raw_publisher_send(side->publisher, &side->target, side->body, (size_t)one->body_bytes, 1, 1);
}

static bool start_consumer(raw_side *side, const char *uri)
{
    if (side->one->mode != BENCH_IDLE)
        return true;
    side->consumer = raw_publisher_new(uri, NULL, 0, false);
    return side->consumer && raw_publisher_purge(side->publisher, side->queue) &&
           raw_publisher_consume(side->consumer, side->queue);
}

static void close_side(void *self)
{
    raw_side *side = self;
    if (side->publisher && !side->one->unrouted)
        raw_publisher_delete(side->publisher, side->queue);
    raw_publisher_free(side->consumer);
    raw_publisher_free(side->publisher);
    json_decref(side->object);
    free(side->body);
    free(side);
}

static void *open_side(const bench_case *one)
{
    raw_side *side = calloc(1, sizeof *side);
    const char *uri = bench_environment("CONEY_URI", "amqp://guest:guest@localhost");
    char ca_file[512];
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", bench_environment("CONEY_TEST_CERTIFICATES", "."));
    side->one = one;
    side->body = calloc(1, (size_t)one->body_bytes + 1);
    side->object = one->mode == BENCH_JSON ? bench_object() : NULL;
    side->publisher =
        raw_publisher_new(uri, one->tls ? ca_file : NULL, atoi(bench_environment("CONEY_TEST_TLS_PORT", "5671")),
                          one->mode != BENCH_FORGET);
    if (side->publisher && prepare(side) && start_consumer(side, uri))
        return side;
    close_side(side);
    return NULL;
}

static bool send_one(const raw_side *side)
{
    if (!side->object)
        return raw_publisher_send(side->publisher, &side->target, side->body, (size_t)side->one->body_bytes, 1, 1);
    char *text = json_dumps(side->object, JSON_COMPACT);
    bool done = text && raw_publisher_send(side->publisher, &side->target, text, strlen(text), 1, 1);
    free(text);
    return done;
}

static bool send_messages(void *self, int messages, double *each_us)
{
    const raw_side *side = self;
    size_t size = (size_t)side->one->body_bytes;
    if (side->one->mode == BENCH_ASYNC)
        return raw_publisher_send(side->publisher, &side->target, side->body, size, messages, BENCH_WINDOW);
    if (side->one->mode == BENCH_FORGET)
        return raw_publisher_send_and_forget(side->publisher, &side->target, side->body, size, messages);
    for (int i = 0; i < messages; i++) {
        double before = bench_now_us();
        if (!send_one(side))
            return false;
        if (each_us)
            each_us[i] = bench_now_us() - before;
    }
    return true;
}

static bool convert(void *self, int objects)
{
    const raw_side *side = self;
    for (int i = 0; i < objects; i++)
        free(json_dumps(side->object, JSON_COMPACT));
    return true;
}

static void empty(void *self)
{
    const raw_side *side = self;
    if (!side->one->unrouted)
        raw_publisher_purge(side->publisher, side->queue);
}

int main(int count_of_arguments, char **arguments)
{
    return bench_side_main(count_of_arguments, arguments,
                           &(bench_side){open_side, send_messages, convert, empty, close_side});
}
