/* SPDX-License-Identifier: MIT */
/* Keeps the status of orders: one that was paid becomes "paid".
 *
 * A service of the shop in full. It knows the event and its own queue, nothing of payment or of
 * the other services. */
#include <inttypes.h>
#include <stdio.h>

#include "shop.h"

static coney_outcome mark_paid(coney_delivery *delivery, void *user)
{
    const struct order *order = coney_delivery_payload(delivery);
    printf("order %" PRId64 ": paid\n", order->id);
    return service_handled(user, order);
}

int main(void)
{
    return service_run(&(struct service){
        .name = "orders",
        .queue = "shop.orders",
        .on_paid = mark_paid,
    });
}
