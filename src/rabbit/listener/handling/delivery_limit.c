/* SPDX-License-Identifier: MIT */
/* The delivery limit of a quorum queue: how often a message may come back before the broker ends it. A message that
 * goes round by dead-lettering uses the limit up. */
#include "rabbit/listener/handling/delivery_limit.h"

#include "rabbit/listener/handling/provenance.h"

/* RabbitMQ 4.3 alone counts on when a message leaves its queue by dead-lettering. */
void cny_warn_of_delivery_limit(cny_handling *handling, const coney_message *message)
{
    if (!message->redelivered)
        return;
    const coney_table *headers = message->properties.headers;
    int64_t limit = atomic_load(&handling->spec->queue.delivery_limit);
    int64_t count = coney_table_get_int64(headers, CONEY_HEADER_DELIVERY_COUNT, 0);
    bool counts_on = coney_table_get_int64(headers, CONEY_HEADER_ACQUIRED_COUNT, 0) > 0;
    if (!counts_on || limit < 0 || count < limit - limit / 4 || !cny_was_dead_lettered(message))
        return;
    cny_log_limited(
        &handling->log, CNY_LOG_DELIVERY_LIMIT, CONEY_LOG_WARN, message,
        "listener '%s', queue '%s': message '%s' comes by dead-lettering, and the broker has counted %lld "
        "returns and rejections of it in all queues; the delivery limit of this queue is %lld unless somebody "
        "has set another one. Over the limit a requeue or a lost connection ends the message, without a word "
        "if its way is a circle or the queue has no dead-letter exchange: declare the queue with "
        "delivery_limit -1 or a higher one, or let retry.delays_ms make the rounds, which begins anew with "
        "each round",
        handling->spec->options.id, handling->spec->options.queue, cny_id_of(message), (long long)count,
        (long long)limit);
}
