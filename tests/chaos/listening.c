/* SPDX-License-Identifier: MIT */
#include "chaos/listening.h"

#include "chaos/bodies.h"
#include "chaos/handlers.h"
#include "chaos/houses.h"

#include <inttypes.h>
#include <stdio.h>

#define RUNG_1 "chaos.quorum.retry.200"
#define RUNG_2 "chaos.quorum.retry.1000"

static const char *const names[QUEUES] = {[CLASSIC] = "chaos.classic",
                                          [QUORUM] = "chaos.quorum",
                                          [LANES] = "chaos.lanes",
                                          [DEAD] = "chaos.dead",
                                          [PARKING] = "chaos.quorum.parking"};

static coney_admin *admin;
static house many = {.options = {.name = "many", .workers = 0}};
static house few = {.options = {.name = "few", .workers = 3, .start_without_broker = true}};
static handler_user users[QUEUES];

const char *queue_name(int queue)
{
    return names[queue];
}

static bool complain(const char *what)
{
    fprintf(stderr, "chaos: %s: %s\n", what, coney_last_error());
    return false;
}

/* ---- queues ---- */

/* A classic queue does not wait until the next one has a dead letter, so its messages are never rejected. The parking
 * queue and the ladder are declared by the listener. */
static coney_status declare(coney_connection_factory *factory)
{
    coney_table *safely = coney_table_new();
    coney_topology *topology = coney_topology_new();
    coney_table_set_string(safely, "x-dead-letter-strategy", "at-least-once");
    coney_topology_add_exchange(topology, &(coney_exchange){.name = EXCHANGE});
    coney_topology_add_queue(topology, &(coney_queue){.name = names[CLASSIC], .kind = CONEY_CLASSIC});
    coney_topology_add_queue(topology, &(coney_queue){.name = names[DEAD], .kind = CONEY_QUORUM});
    for (int i = QUORUM; i <= LANES; i++)
        coney_topology_add_queue(topology, &(coney_queue){.name = names[i],
                                                          .kind = CONEY_QUORUM,
                                                          .dead_letter_exchange = "",
                                                          .dead_letter_routing_key = names[DEAD],
                                                          .overflow = CONEY_REJECT_PUBLISH,
                                                          .arguments = safely});
    for (int i = 0; i < PUBLISHED; i++)
        coney_topology_bind(topology, EXCHANGE, names[i], names[i]);
    coney_status status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
    if (status == CONEY_OK)
        status = coney_admin_declare(admin);
    coney_topology_free(topology);
    coney_table_free(safely);
    return status;
}

/* ---- listeners ---- */

static coney_status listen_to(house *where, int queue, coney_listener listener)
{
    users[queue] = (handler_user){.queue = queue, .container = where->container};
    listener.queue = names[queue];
    listener.user = &users[queue];
    listener.prefetch = 100;
    return coney_container_listen(where->container, &listener);
}

static coney_status listen_in_many(void)
{
    coney_status status = listen_to(
        &many, CLASSIC,
        (coney_listener){.on_message = handle_manually, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .concurrency = 2});
    return status == CONEY_OK ? listen_to(&many, DEAD, (coney_listener){.on_message = handle}) : status;
}

static coney_status listen_in_few(void)
{
    const coney_listener_retry ladder = {
        .max_attempts = 2, .first_delay_ms = 20, .delays_ms = {200, 1000}, .ladder_kind = CONEY_QUORUM};
    coney_status status = listen_to(
        &few, QUORUM, (coney_listener){.on_message = handle, .concurrency = 2, .ack_every = 10, .retry = ladder});
    if (status == CONEY_OK)
        status = listen_to(&few, LANES,
                           (coney_listener){.on_message = handle_in_lane,
                                            .lanes = 4,
                                            .lane_header = KEY_HEADER,
                                            .retry = {.max_attempts = 3, .first_delay_ms = 20}});
    return status == CONEY_OK ? listen_to(&few, PARKING, (coney_listener){.on_message = handle}) : status;
}

bool listening_start(coney_connection_factory *factory, uint64_t seed)
{
    bool done = declare(factory) == CONEY_OK && house_build(&many, factory) == CONEY_OK &&
                house_build(&few, factory) == CONEY_OK && listen_in_many() == CONEY_OK && listen_in_few() == CONEY_OK;
    if (!done)
        return complain("listening");
    return handlers_start(seed) && house_open(&many, seed * 5) && house_open(&few, seed * 7);
}

void listening_calm_down(void)
{
    handlers_calm_down();
    houses_calm_down();
}

void listening_free(void)
{
    house_close(&many);
    house_close(&few);
    handlers_stop();
    coney_admin_free(admin);
}

/* ---- what is left ---- */

static int64_t count_ready(void)
{
    static const char *const all[] = {"chaos.classic", "chaos.quorum",         "chaos.lanes", "chaos.dead",
                                      RUNG_1,          "chaos.quorum.parking", RUNG_2};
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        coney_queue_info info = {0};
        if (coney_admin_queue_info(admin, all[i], &info) != CONEY_OK)
            return -1;
        sum += info.message_count;
    }
    return sum;
}

/* Twice in a row, for a message may be on its way from one queue to the next. */
bool listening_wait_until_empty(int timeout_ms)
{
    int64_t deadline = cny_now_ms() + timeout_ms, left = -1;
    for (int times_empty = 0; times_empty < 2 && cny_now_ms() < deadline;) {
        left = count_ready() + house_in_progress(&many) + house_in_progress(&few);
        times_empty = left == 0 ? times_empty + 1 : 0;
        sleep_ms(300);
    }
    if (left != 0)
        fprintf(stderr, "chaos: %" PRId64 " messages are left in queues or in hands\n", left);
    return left == 0;
}

void listening_print(void)
{
    handlers_print();
    house_print(&many);
    house_print(&few);
}

void listening_print_state(void)
{
    house_print_state(&many);
    house_print_state(&few);
    for (int i = 0; i < QUEUES; i++) {
        coney_queue_info info = {0};
        if (coney_admin_queue_info(admin, names[i], &info) == CONEY_OK)
            fprintf(stderr, "  %s: %u ready, %u consumers\n", info.name, info.message_count, info.consumer_count);
        else
            fprintf(stderr, "  %s: %s\n", names[i], coney_last_error());
    }
}
