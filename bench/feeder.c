/* SPDX-License-Identifier: MIT */
#include "feeder.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REST_MS 100

static bool declare_all(const feeder *made)
{
    bench_queue_name queue;
    bool done = made->one->mode == BENCH_LISTENERS || raw_publisher_declare_queue(made->publisher, made->queue, false);
    if (made->one->mode == BENCH_RELAY)
        done = done && raw_publisher_declare_queue(made->publisher, made->relay_queue, false);
    for (int i = 0; done && i < made->one->listeners; i++) {
        bench_listener_queue(queue, made->one, i);
        done = raw_publisher_declare_queue(made->publisher, queue, false);
    }
    return done;
}

/* What a run that was killed has left. */
static bool purge_all(const feeder *made)
{
    return made->one->mode == BENCH_LISTENERS ||
           (raw_publisher_purge(made->publisher, made->queue, NULL) &&
            (made->one->mode != BENCH_RELAY || raw_publisher_purge(made->publisher, made->relay_queue, NULL)));
}

bool feeder_open(feeder *made, const bench_case *one, const char *side)
{
    const char *uri = getenv("CONEY_URI");
    if (!bench_is_fed(one))
        return true;
    made->one = one;
    made->publisher = raw_publisher_new(uri ? uri : "amqp://guest:guest@localhost", NULL, 0, true);
    bench_queue(made->queue, one, side);
    bench_relay_queue(made->relay_queue, one, side);
    return made->publisher && declare_all(made) && purge_all(made);
}

bool feeder_fill(const feeder *filled, int messages)
{
    if (!filled->publisher)
        return true;
    const raw_target target = {.exchange = "", .routing_key = filled->queue, .mandatory = true};
    size_t size = (size_t)filled->one->body_bytes;
    char *body = calloc(1, size + 1);
    bool done = raw_publisher_send(filled->publisher, &target, body, size, messages, BENCH_WINDOW);
    free(body);
    nanosleep(&(struct timespec){.tv_nsec = REST_MS * 1000000L}, NULL); /* nothing tells when the broker is at rest */
    return done;
}

static bool check_queue(const feeder *checked, const char *queue, int expected)
{
    int found = 0;
    if (!raw_publisher_purge(checked->publisher, queue, &found))
        return false;
    if (found != expected)
        fprintf(stderr, "bench: queue %s has %d messages where %d should be\n", queue, found, expected);
    return found == expected;
}

bool feeder_check(const feeder *checked, int messages)
{
    return !checked->publisher ||
           (check_queue(checked, checked->queue, 0) &&
            (checked->one->mode != BENCH_RELAY || check_queue(checked, checked->relay_queue, messages)));
}

static void delete_all(const feeder *closed)
{
    bench_queue_name queue;
    if (closed->one->mode != BENCH_LISTENERS)
        raw_publisher_delete(closed->publisher, closed->queue);
    if (closed->one->mode == BENCH_RELAY)
        raw_publisher_delete(closed->publisher, closed->relay_queue);
    for (int i = 0; i < closed->one->listeners; i++) {
        bench_listener_queue(queue, closed->one, i);
        raw_publisher_delete(closed->publisher, queue);
    }
}

void feeder_close(feeder *closed)
{
    if (!closed->publisher)
        return;
    delete_all(closed);
    raw_publisher_free(closed->publisher);
    closed->publisher = NULL;
}
