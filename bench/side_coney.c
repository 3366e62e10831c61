/* SPDX-License-Identifier: MIT */
/* Coney's side of every case. */
#include "coney_consumer.h"
#include "coney_json.h"
#include "coney_rpc.h"
#include "side.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_THREADS 64
#define WAIT_MS 60000

typedef struct coney_side {
    const bench_case *one;
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_template *sender;
    coney_container *container;
    coney_consumer *consumer;
    conversion *conversion;
    coney_message *message;
    json_t *object;
    bench_queue_name queue;
    atomic_int confirmed;
    atomic_int failed;
} coney_side;

static bool complain(const char *what)
{
    fprintf(stderr, "coney: %s: %s\n", what, coney_last_error());
    return false;
}

/* ---- opening ---- */

static bool make_factory(coney_side *side)
{
    char ca_file[512], uri[128];
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", bench_environment("CONEY_TEST_CERTIFICATES", "."));
    snprintf(uri, sizeof uri, "amqps://guest:guest@localhost:%s/", bench_environment("CONEY_TEST_TLS_PORT", "5671"));
    const coney_tls_options tls = {.ca_file = ca_file};
    return coney_connection_factory_new(
               &side->factory, side->one->tls ? uri : bench_environment("CONEY_URI", "amqp://guest:guest@localhost"),
               &(coney_connection_factory_options){.tls = side->one->tls ? &tls : NULL}) == CONEY_OK;
}

static bool make_message(coney_side *side)
{
    const coney_properties properties = {.delivery_mode = side->one->quorum ? CONEY_PERSISTENT : CONEY_TRANSIENT};
    char *body = calloc(1, (size_t)side->one->body_bytes + 1);
    coney_status status = coney_message_new(&side->message, body, (size_t)side->one->body_bytes, &properties);
    free(body);
    return status == CONEY_OK;
}

static bool make_sender(coney_side *side)
{
    const coney_template_options options = {
        .exchange = side->one->unrouted ? BENCH_FANOUT : "",
        .routing_key = side->queue,
        .max_unconfirmed = BENCH_WINDOW,
        .drop_unroutable = side->one->unrouted,
    };
    return coney_template_new(&side->sender, side->factory, &options) == CONEY_OK;
}

static bool declare(coney_side *side)
{
    const coney_queue queue = {.name = side->queue, .kind = side->one->quorum ? CONEY_QUORUM : CONEY_CLASSIC};
    return side->one->unrouted || (coney_admin_new(&side->admin, side->factory, NULL) == CONEY_OK &&
                                   coney_admin_declare_queue(side->admin, &queue, NULL) == CONEY_OK);
}

static coney_outcome discard(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

static bool start_listener(coney_side *side)
{
    return coney_container_new(&side->container, side->factory, NULL) == CONEY_OK &&
           coney_container_listen(side->container, &(coney_listener){.queue = side->queue, .on_message = discard}) ==
               CONEY_OK &&
           coney_container_start(side->container) == CONEY_OK;
}

static void close_side(void *self)
{
    coney_side *side = self;
    coney_container_free(side->container);
    coney_consumer_free(side->consumer);
    conversion_free(side->conversion);
    if (side->admin)
        coney_admin_delete_queue(side->admin, side->queue, NULL);
    coney_template_free(side->sender);
    coney_message_unref(side->message);
    coney_admin_free(side->admin);
    coney_connection_factory_free(side->factory);
    json_decref(side->object);
    free(side);
}

static bool prepare_sending(coney_side *side)
{
    const bench_case *one = side->one;
    bench_queue(side->queue, one, "coney");
    bool done = make_factory(side) && declare(side) && make_message(side) && make_sender(side);
    if (done && (one->mode == BENCH_STARTUP || one->mode == BENCH_IDLE))
        done = coney_template_send(side->sender, NULL, side->message, NULL) == CONEY_OK;
    if (done && one->mode == BENCH_IDLE)
        done = start_listener(side);
    return done;
}

/* Connected, so that this is in no figure. */
static bool prepare_consuming(coney_side *side)
{
    const bench_case *one = side->one;
    if (!make_factory(side) || coney_connection_factory_connect(side->factory) != CONEY_OK)
        return false;
    if (one->mode == BENCH_LISTENERS)
        return true;
    bench_relay_queue(side->queue, one, "coney");
    if (one->mode == BENCH_RELAY && !make_sender(side))
        return false;
    side->consumer = coney_consumer_new(one, side->factory, side->sender);
    return side->consumer;
}

static bool prepare_requests(coney_side *side)
{
    if (!make_factory(side) || coney_admin_new(&side->admin, side->factory, NULL) != CONEY_OK)
        return false;
    bench_queue(side->queue, side->one, "coney");
    if (side->one->mode == BENCH_SERVE)
        return (side->container = coney_rpc_serve(side->factory, side->admin));
    return make_message(side) && (side->sender = coney_rpc_caller(side->factory));
}

static bool prepare_conversion(coney_side *side)
{
    side->conversion = conversion_new(side->one, coney_json_codec(side->one));
    return side->conversion;
}

static void *open_side(const bench_case *one)
{
    coney_side *side = calloc(1, sizeof *side);
    side->one = one;
    side->object = one->mode == BENCH_JSON ? bench_object() : NULL;
    bool is_request = one->mode == BENCH_RPC || one->mode == BENCH_SERVE;
    bool done = bench_is_conversion(one) ? prepare_conversion(side)
                : is_request             ? prepare_requests(side)
                : bench_is_fed(one)      ? prepare_consuming(side)
                                         : prepare_sending(side);
    if (done || complain("prepare"))
        return side;
    close_side(side);
    return NULL;
}

/* ---- working ---- */

static void count(coney_message *message, const coney_error *error, void *user)
{
    coney_side *side = user;
    (void)message;
    atomic_fetch_add_explicit(error ? &side->failed : &side->confirmed, 1, memory_order_relaxed);
}

static bool send_async(coney_side *side, int messages)
{
    side->confirmed = side->failed = 0;
    for (int i = 0; i < messages; i++) {
        if (coney_template_send_async(side->sender, NULL, side->message, NULL, count, side) != CONEY_OK)
            return complain("send");
    }
    if (coney_template_wait_for_confirms(side->sender, WAIT_MS) != CONEY_OK)
        return complain("wait");
    return side->confirmed == messages || complain("not all were confirmed");
}

/* The confirmed one behind them shows that the broker reads what came before it on this connection. */
static bool send_and_forget(const coney_side *side, int messages)
{
    for (int i = 0; i < messages; i++) {
        if (coney_template_send_and_forget(side->sender, NULL, side->message, NULL) != CONEY_OK)
            return complain("send");
    }
    return coney_template_send(side->sender, NULL, side->message, NULL) == CONEY_OK || complain("send behind them");
}

static bool send_one(const coney_side *side)
{
    static const coney_properties transient = {.delivery_mode = CONEY_TRANSIENT};
    static const coney_send_options options = {.properties = &transient};
    coney_status status = side->object ? coney_template_convert_and_send(side->sender, NULL, side->object, &options)
                                       : coney_template_send(side->sender, NULL, side->message, NULL);
    return status == CONEY_OK || complain("send");
}

static bool send_sync(const coney_side *side, int messages, double *each_us)
{
    if (side->one->mode == BENCH_RPC)
        return coney_rpc_ask(side->sender, side->message, messages, each_us) || complain("ask");
    for (int i = 0; i < messages; i++) {
        double before = bench_now_us();
        if (!send_one(side))
            return false;
        if (each_us)
            each_us[i] = bench_now_us() - before;
    }
    return true;
}

typedef struct share {
    const coney_side *side;
    int messages;
    bool done;
    pthread_t thread;
} share;

static void *send_share(void *argument)
{
    share *mine = argument;
    mine->done = send_sync(mine->side, mine->messages, NULL);
    return NULL;
}

static bool send_by_threads(const coney_side *side, int messages)
{
    share shares[MAX_THREADS];
    int threads = side->one->threads;
    bool done = true;
    for (int i = 0; i < threads; i++) {
        shares[i] = (share){.side = side, .messages = messages / threads + (i < messages % threads)};
        pthread_create(&shares[i].thread, NULL, send_share, &shares[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(shares[i].thread, NULL);
        done = done && shares[i].done;
    }
    return done;
}

static bool work(void *self, int messages, double *each_us)
{
    coney_side *side = self;
    if (side->conversion)
        return conversion_repeat(side->conversion, messages) || complain("convert");
    if (side->consumer)
        return coney_consumer_handle(side->consumer, messages) || complain("consume");
    if (side->one->mode == BENCH_ASYNC)
        return send_async(side, messages);
    if (side->one->mode == BENCH_FORGET)
        return send_and_forget(side, messages);
    if (side->one->outstanding > 0)
        return coney_rpc_ask_many(side->sender, side->message, messages, side->one->outstanding) || complain("ask");
    return side->one->threads > 1 ? send_by_threads(side, messages) : send_sync(side, messages, each_us);
}

static bool convert(void *self, int objects)
{
    const coney_side *side = self;
    for (int i = 0; i < objects; i++) {
        coney_message *message;
        if (coney_message_new_json(&message, side->object, NULL) != CONEY_OK)
            return complain("convert");
        coney_message_unref(message);
    }
    return true;
}

static bool listen(void *self)
{
    coney_side *side = self;
    return coney_consumer_listen(side->one, side->factory, &side->container) || complain("listen");
}

static void tidy(void *self)
{
    const coney_side *side = self;
    if (side->consumer && !coney_consumer_stop(side->consumer))
        complain("stop");
    bool has_queue = side->admin && side->one->mode != BENCH_RPC;
    if (has_queue && coney_admin_purge_queue(side->admin, side->queue, NULL) != CONEY_OK)
        complain("purge");
}

int main(int count_of_arguments, char **arguments)
{
    return bench_side_main(count_of_arguments, arguments,
                           &(bench_side){open_side, work, convert, listen, tidy, close_side});
}
