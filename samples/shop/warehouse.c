/* SPDX-License-Identifier: MIT */
/* Ships what was paid for.
 *
 * It may be killed at any moment: its queue keeps what it did not acknowledge, and what comes in
 * while it is away. */
#include <inttypes.h>
#include <stdio.h>

#include "shop.h"

static coney_outcome ship(coney_delivery *delivery, void *user)
{
    const struct order *order = coney_delivery_payload(delivery);
    printf("order %" PRId64 ": ship %s to %s\n", order->id, order->item, order->customer);
    return service_handled(user, order);
}

int main(void)
{
    return service_run(&(struct service){
        .name = "warehouse",
        .queue = "shop.warehouse",
        .on_paid = ship,
    });
}
