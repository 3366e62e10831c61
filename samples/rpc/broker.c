/* SPDX-License-Identifier: MIT */
/* Declares the queues of the sample and deletes them again. Called by the main thread alone. */
#include "broker.h"

#include "names.h"
#include "services.h"

#include <stdio.h>

enum { SERVICES = 2, START_MS = 10000 };

static const char *const services[SERVICES] = {"warehouse", "notify"};
static char requests[SERVICES][64], events[SERVICES][64];
static coney_admin *admin;
static bool is_open;

static void name_queues(void)
{
    for (int i = 0; i < SERVICES; i++) {
        snprintf(requests[i], sizeof requests[i], REQUESTS, services[i]);
        snprintf(events[i], sizeof events[i], EVENTS, services[i]);
    }
}

static bool delete_all(void)
{
    bool deleted = coney_admin_delete_queue(admin, DONE, NULL) == CONEY_OK;
    for (int i = 0; deleted && i < SERVICES; i++)
        deleted = coney_admin_delete_queue(admin, requests[i], NULL) == CONEY_OK &&
                  coney_admin_delete_queue(admin, events[i], NULL) == CONEY_OK;
    return deleted && coney_admin_delete_exchange(admin, PAID) == CONEY_OK;
}

/* The admin declares all of it again after a loss of the connection. */
static coney_status make_admin(coney_connection_factory *factory)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = PAID, .type = CONEY_FANOUT});
    coney_topology_add_queue(topology, &(coney_queue){.name = DONE});
    for (int i = 0; i < SERVICES; i++) {
        coney_topology_add_queue(topology, &(coney_queue){.name = requests[i]});
        coney_topology_add_queue(topology, &(coney_queue){.name = events[i]});
        coney_topology_bind(topology, PAID, events[i], "");
    }
    coney_status status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    return status;
}

bool broker_open(coney_connection_factory **factory, const char *uri)
{
    name_queues();
    is_open = coney_connection_factory_new(factory, uri, NULL) == CONEY_OK && make_admin(*factory) == CONEY_OK &&
              delete_all() && coney_admin_declare(admin) == CONEY_OK;
    return is_open;
}

static bool wait_for_consumer(const char *queue, int64_t deadline)
{
    coney_queue_info info = {0};
    while (coney_admin_queue_info(admin, queue, &info) == CONEY_OK && info.consumer_count == 0 && now_ms() < deadline)
        sleep_ms(10);
    if (info.consumer_count == 0)
        fprintf(stderr, "rpc: no service consumes from %s within %d s\n", queue, START_MS / 1000);
    return info.consumer_count > 0;
}

bool broker_wait_for_services(void)
{
    int64_t deadline = now_ms() + START_MS;
    bool all = true;
    for (int i = 0; all && i < SERVICES; i++)
        all = wait_for_consumer(requests[i], deadline) && wait_for_consumer(events[i], deadline);
    return all;
}

void broker_close(coney_connection_factory *factory)
{
    if (is_open && !delete_all())
        fprintf(stderr, "rpc: queues are left: %s\n", coney_last_error());
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
}
