/* SPDX-License-Identifier: MIT */
/* rabbitmq-c's side of every case. */
#include "raw_consumer.h"
#include "raw_json.h"
#include "raw_publisher.h"
#include "raw_rpc.h"
#include "side.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct raw_side {
    const bench_case *one;
    raw_publisher *publisher;
    raw_consumer *consumer;
    conversion *conversion;
    raw_rpc *rpc;
    raw_target target;
    bench_queue_name queue;
    bench_queue_name relay_queue;
    char *body;
    json_t *object;
} raw_side;

static bool has_own_queue(const raw_side *side)
{
    return !side->one->unrouted && !bench_is_fed(side->one);
}

static bool prepare(raw_side *side)
{
    const bench_case *one = side->one;
    side->target = (raw_target){
        .exchange = one->unrouted ? BENCH_FANOUT : "",
        .routing_key = side->queue,
        .mandatory = !one->unrouted,
        .persistent = one->quorum,
    };
    if (has_own_queue(side) && !raw_publisher_declare_queue(side->publisher, side->queue, one->quorum))
        return false;
    return (one->mode != BENCH_STARTUP && one->mode != BENCH_IDLE) ||
           raw_publisher_send(side->publisher, &side->target, side->body, (size_t)one->body_bytes, 1, 1);
}

static bool start_consumer(raw_side *side, const char *uri)
{
    if (side->one->mode != BENCH_IDLE)
        return true;
    side->consumer = raw_consumer_new(uri, NULL, 0);
    return side->consumer && raw_publisher_purge(side->publisher, side->queue, NULL) &&
           raw_consumer_subscribe(side->consumer, side->queue, BENCH_PREFETCH, false);
}

static bool prepare_sending(raw_side *side, const char *uri, const char *ca_file, int tls_port)
{
    side->publisher = raw_publisher_new(uri, ca_file, tls_port, side->one->mode != BENCH_FORGET);
    return side->publisher && prepare(side) && start_consumer(side, uri);
}

/* What is relayed has a connection of its own: it may be read for confirms while deliveries wait. */
static bool prepare_consuming(raw_side *side, const char *uri, const char *ca_file, int tls_port)
{
    side->target = (raw_target){.exchange = "", .routing_key = side->relay_queue, .mandatory = true};
    side->consumer = raw_consumer_new(uri, ca_file, tls_port);
    if (side->one->mode == BENCH_RELAY)
        side->publisher = raw_publisher_new(uri, ca_file, tls_port, true);
    return side->consumer && (side->one->mode != BENCH_RELAY || side->publisher);
}

static void close_side(void *self)
{
    raw_side *side = self;
    if (side->publisher && has_own_queue(side))
        raw_publisher_delete(side->publisher, side->queue);
    raw_consumer_free(side->consumer);
    raw_publisher_free(side->publisher);
    raw_rpc_free(side->rpc);
    conversion_free(side->conversion);
    json_decref(side->object);
    free(side->body);
    free(side);
}

static bool prepare_requests(raw_side *side, const char *uri)
{
    bench_queue_name queue;
    bench_queue(queue, bench_case_find(BENCH_SERVER), "raw");
    side->rpc = side->one->mode == BENCH_SERVE ? raw_rpc_server(uri, queue) : raw_rpc_caller(uri, queue);
    return side->rpc;
}

static bool prepare_conversion(raw_side *side)
{
    side->conversion = conversion_new(side->one, raw_json_codec(side->one));
    return side->conversion;
}

static void *open_side(const bench_case *one)
{
    raw_side *side = calloc(1, sizeof *side);
    const char *uri = bench_environment("CONEY_URI", "amqp://guest:guest@localhost");
    char ca_path[512];
    snprintf(ca_path, sizeof ca_path, "%s/ca.pem", bench_environment("CONEY_TEST_CERTIFICATES", "."));
    const char *ca_file = one->tls ? ca_path : NULL;
    int tls_port = atoi(bench_environment("CONEY_TEST_TLS_PORT", "5671"));
    side->one = one;
    side->body = calloc(1, (size_t)one->body_bytes + 1);
    side->object = one->mode == BENCH_JSON ? bench_object() : NULL;
    bench_queue(side->queue, one, "raw");
    bench_relay_queue(side->relay_queue, one, "raw");
    bool is_request = one->mode == BENCH_RPC || one->mode == BENCH_SERVE;
    if (bench_is_conversion(one) ? prepare_conversion(side)
        : is_request             ? prepare_requests(side, uri)
        : bench_is_fed(one)      ? prepare_consuming(side, uri, ca_file, tls_port)
                                 : prepare_sending(side, uri, ca_file, tls_port))
        return side;
    close_side(side);
    return NULL;
}

static bool send_one(const raw_side *side)
{
    if (side->rpc)
        return raw_rpc_ask(side->rpc, side->body, (size_t)side->one->body_bytes);
    if (!side->object)
        return raw_publisher_send(side->publisher, &side->target, side->body, (size_t)side->one->body_bytes, 1, 1);
    char *text = json_dumps(side->object, JSON_COMPACT);
    bool done = text && raw_publisher_send(side->publisher, &side->target, text, strlen(text), 1, 1);
    free(text);
    return done;
}

static bool handle(const void *body, size_t size, void *user)
{
    const raw_side *side = user;
    if (side->one->handler_ms > 0)
        poll(NULL, 0, side->one->handler_ms);
    return !side->publisher || raw_publisher_send(side->publisher, &side->target, body, size, 1, 1);
}

static bool consume(raw_side *side, int messages)
{
    return raw_consumer_subscribe(side->consumer, side->queue, bench_prefetch(side->one), side->one->no_ack) &&
           raw_consumer_handle(side->consumer, messages, handle, side);
}

static bool work(void *self, int messages, double *each_us)
{
    raw_side *side = self;
    if (side->conversion)
        return conversion_repeat(side->conversion, messages);
    if (bench_is_fed(side->one))
        return consume(side, messages);
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

/* Nothing to compare with. */
static bool listen(void *self)
{
    (void)self;
    return false;
}

static void tidy(void *self)
{
    const raw_side *side = self;
    if (side->publisher && has_own_queue(side))
        raw_publisher_purge(side->publisher, side->queue, NULL);
    if (bench_is_fed(side->one))
        raw_consumer_unsubscribe(side->consumer);
}

int main(int count_of_arguments, char **arguments)
{
    return bench_side_main(count_of_arguments, arguments,
                           &(bench_side){open_side, work, convert, listen, tidy, close_side});
}
