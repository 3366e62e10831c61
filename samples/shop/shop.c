/* SPDX-License-Identifier: MIT */
/* The life of a service: declare exchange, queue and binding, listen, wait for SIGTERM, stop.
 *
 * Each service has a queue of its own bound to order.paid, so each gets every event, and what
 * happens to one of them (killed, slow, not yet written) is no concern of payment or the others. */
#include "shop.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger.h"

const coney_exchange shop_events = {.name = "shop.events", .type = CONEY_TOPIC};

static const coney_field order_fields[] = {
    CONEY_FIELD(struct order, id, CONEY_INT64, CONEY_RANGE(0, INT64_MAX)),
    CONEY_FIELD(struct order, customer, CONEY_STRING),
    CONEY_FIELD(struct order, item, CONEY_STRING),
    CONEY_FIELD(struct order, total_cents, CONEY_INT64),
    CONEY_FIELD(struct order, currency, CONEY_STRING, .default_text = "EUR"),
};
const coney_type order_paid_type = CONEY_TYPE("shop.OrderPaid", struct order, order_fields);

const char *shop_uri(void)
{
    const char *uri = getenv("CONEY_URI");
    return uri && *uri ? uri : "amqp://guest:guest@localhost";
}

bool parse_number(int64_t *number, const char *text)
{
    char *end;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *number >= 0;
}

coney_outcome service_handled(const struct service *service, const struct order *order)
{
    /* The order is recorded first and acknowledged then: if the program is killed between them, the order comes
     * again and is handled twice. An order is never lost. */
    if (!ledger_append(service->ledger, order->id)) {
        fprintf(stderr, "%s: ledger: %s\n", service->name, strerror(errno));
        return CONEY_RETRY;
    }
    return CONEY_ACK;
}

void shop_add_queue(coney_topology *topology, const char *queue)
{
    coney_topology_add_exchange(topology, &shop_events);
    coney_topology_add_queue(topology, &(coney_queue){.name = queue});
    coney_topology_bind(topology, shop_events.name, queue, ORDER_PAID);
}

/* The admin declares the queue again after each loss of a connection. */
static coney_status declare_queue(const struct service *service, coney_connection_factory *factory, coney_admin **admin)
{
    coney_topology *topology = coney_topology_new();
    shop_add_queue(topology, service->queue);
    coney_status status = coney_admin_new(admin, factory, &(coney_admin_options){.topology = topology});
    if (status == CONEY_OK)
        status = coney_admin_declare(*admin);
    coney_topology_free(topology);
    return status;
}

static coney_status start_listening(struct service *service, coney_connection_factory *factory,
                                    coney_container **container)
{
    coney_listener listener = {
        .queue = service->queue,
        .on_message = service->on_paid,
        .user = service,
        .type = &order_paid_type,
        .concurrency = service->concurrency,
        .prefetch = service->prefetch,
    };
    coney_status status = coney_container_new(container, factory, &(coney_container_options){.name = service->name});
    if (status == CONEY_OK)
        status = coney_container_listen(*container, &listener);
    if (status == CONEY_OK)
        status = coney_container_start(*container);
    return status;
}

int service_run(struct service *service)
{
    /* Blocked before there are threads, so that only sigwaitinfo() sees them. */
    sigset_t stop_signals;
    sigemptyset(&stop_signals);
    sigaddset(&stop_signals, SIGTERM);
    sigaddset(&stop_signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop_signals, NULL);

    service->ledger = ledger_open(service->name);
    if (service->ledger < 0) {
        fprintf(stderr, "%s: ledger: %s\n", service->name, strerror(errno));
        return EXIT_FAILURE;
    }

    coney_connection_factory *factory = NULL;
    coney_admin *admin = NULL;
    coney_container *container = NULL;
    coney_status status = coney_connection_factory_new(&factory, shop_uri(), NULL);
    if (status == CONEY_OK)
        status = declare_queue(service, factory, &admin);
    if (status == CONEY_OK)
        status = start_listening(service, factory, &container);
    if (status == CONEY_OK) {
        sigwaitinfo(&stop_signals, NULL); /* meanwhile Coney handles orders, and comes back if the broker goes away */
        status = coney_connection_factory_close(factory);
    }
    if (status != CONEY_OK)
        fprintf(stderr, "%s: %s\n", service->name, coney_last_error());

    coney_container_free(container);
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    return status == CONEY_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
