/* SPDX-License-Identifier: MIT */
#include "coney_rpc.h"
#include "side.h"

#include <semaphore.h>
#include <stdlib.h>
#include <time.h>

#define WAIT_S 60
#define REPLY_BYTES 100

/* ---- the server ---- */

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    static const char body[REPLY_BYTES];
    static const coney_properties transient = {.delivery_mode = CONEY_TRANSIENT};
    coney_message *reply;
    (void)user;
    if (coney_message_new(&reply, body, sizeof body, &transient) != CONEY_OK)
        return CONEY_REQUEUE;
    coney_delivery_set_reply(delivery, reply);
    return CONEY_ACK;
}

static void server_queue(bench_queue_name name)
{
    bench_queue(name, bench_case_find(BENCH_SERVER), "coney");
}

coney_container *coney_rpc_serve(coney_connection_factory *factory, coney_admin *admin)
{
    bench_queue_name queue;
    coney_container *container = NULL;
    server_queue(queue);
    const coney_listener listener = {.queue = queue, .on_message = answer, .prefetch = BENCH_PREFETCH};
    if (coney_admin_declare_queue(admin, &(coney_queue){.name = queue, .kind = CONEY_CLASSIC}, NULL) == CONEY_OK &&
        coney_container_new(&container, factory, NULL) == CONEY_OK &&
        coney_container_listen(container, &listener) == CONEY_OK && coney_container_start(container) == CONEY_OK)
        return container;
    coney_container_free(container);
    return NULL;
}

/* ---- the caller ---- */

coney_template *coney_rpc_caller(coney_connection_factory *factory)
{
    bench_queue_name queue;
    coney_template *caller = NULL;
    server_queue(queue);
    coney_template_new(&caller, factory, &(coney_template_options){.routing_key = queue});
    return caller;
}

bool coney_rpc_ask(coney_template *caller, coney_message *request, int requests, double *each_us)
{
    for (int i = 0; i < requests; i++) {
        coney_message *reply;
        double before = bench_now_us();
        if (coney_template_send_and_receive(caller, &reply, NULL, request, NULL) != CONEY_OK)
            return false;
        if (each_us)
            each_us[i] = bench_now_us() - before;
        coney_message_unref(reply);
    }
    return true;
}

typedef struct many {
    sem_t free_places;
    sem_t ended;
    bool failed; /* events thread */
} many;

static void on_end(coney_message *reply, const coney_error *error, void *user)
{
    many *all = user;
    (void)reply;
    all->failed = all->failed || error;
    sem_post(&all->free_places);
    sem_post(&all->ended);
}

static bool wait_for_all(many *all, int requests)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    int left = requests;
    while (left > 0 && sem_timedwait(&all->ended, &until) == 0)
        left--;
    return left == 0;
}

bool coney_rpc_ask_many(coney_template *caller, coney_message *request, int requests, int outstanding)
{
    many all = {.failed = false};
    sem_init(&all.free_places, 0, (unsigned)outstanding);
    sem_init(&all.ended, 0, 0);
    bool sent = true;
    int i = 0;
    for (; i < requests && sent; i++) {
        sem_wait(&all.free_places);
        sent = coney_template_request_async(caller, NULL, request, NULL, on_end, &all) == CONEY_OK;
    }
    return wait_for_all(&all, sent ? requests : i - 1) && sent && !all.failed;
}
