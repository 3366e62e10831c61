/* SPDX-License-Identifier: MIT */
/* Writes a line to the customer.
 *
 *   shop-notify [--delay-ms N]
 *
 * Mail takes its time (N milliseconds each), so four consumers write at once. Should payments
 * come faster than that, they wait in the queue. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shop.h"

static int64_t delay_ms;

static coney_outcome write_customer(coney_delivery *delivery, void *user)
{
    const struct order *order = coney_delivery_payload(delivery);
    nanosleep(&(struct timespec){.tv_sec = (time_t)(delay_ms / 1000), .tv_nsec = (long)(delay_ms % 1000) * 1000000},
              NULL);
    printf("Dear %s, thank you, order %" PRId64 " is paid.\n", order->customer, order->id);
    return service_handled(user, order);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"delay-ms", required_argument, NULL, 'd'}, {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option != 'd' || !parse_number(&delay_ms, optarg)) {
            fprintf(stderr, "usage: shop-notify [--delay-ms N]\n");
            return EXIT_FAILURE;
        }
    }
    return service_run(&(struct service){
        .name = "notify",
        .queue = "shop.notify",
        .on_paid = write_customer,
        .concurrency = 4,
        .prefetch = 20, /* a slow consumer should not keep messages from others */
    });
}
