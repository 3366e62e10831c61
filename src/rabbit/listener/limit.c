/* SPDX-License-Identifier: MIT */
/* The delivery limit of a quorum queue: how often a message may come back before the broker ends it. No listener may
 * need more attempts than that, and a message that goes round by dead-lettering uses the limit up. */
#include "rabbit/listener/listener.h"

/* A message over its delivery limit is gone, unless the queue has a dead-letter exchange. */
coney_status cny_check_delaying_queue(const coney_listener *options, bool delays_failures, int64_t delivery_limit)
{
    const coney_listener_retry *retry = &options->retry;
    int attempts = retry->max_attempts ? retry->max_attempts : cny_default_attempts(retry);
    if (!retry->delayed_by_queue)
        return CONEY_OK;
    if (!delays_failures)
        return cny_fail(CONEY_E_INVALID,
                        "retry.delayed_by_queue: the queue '%s' is declared here without a delay for what has failed; "
                        "set its delayed_retry to CONEY_DELAYED_RETRY_FAILED, or take retry.delays_ms",
                        options->queue);
    return delivery_limit < 0 || attempts - 1 <= delivery_limit
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID,
                          "retry.max_attempts is %d, and the queue '%s' lets a message come back %lld times, so the "
                          "broker would end the message before; set delivery_limit of the queue to %d or more",
                          attempts, options->queue, (long long)delivery_limit, attempts - 1);
}

/* RabbitMQ 4.3 alone counts on when a message leaves its queue by dead-lettering. */
void cny_warn_of_delivery_limit(cny_listener *listener, const coney_message *message)
{
    if (!message->redelivered)
        return;
    const coney_table *headers = message->properties.headers;
    int64_t limit = atomic_load(&listener->delivery_limit);
    int64_t count = coney_table_get_int64(headers, CNY_HEADER_DELIVERED, 0);
    bool counts_on = coney_table_get_int64(headers, CNY_HEADER_ACQUIRED, 0) > 0;
    if (!counts_on || limit < 0 || count < limit - limit / 4 || !cny_was_dead_lettered(message))
        return;
    cny_log_limited(
        &listener->log, CNY_LOG_DELIVERY_LIMIT, CONEY_LOG_WARN, message,
        "listener '%s', queue '%s': message '%s' comes by dead-lettering, and the broker has counted %lld "
        "returns and rejections of it in all queues; the delivery limit of this queue is %lld unless somebody "
        "has set another one. Over the limit a requeue or a lost connection ends the message, without a word "
        "if its way is a circle or the queue has no dead-letter exchange: declare the queue with "
        "delivery_limit -1 or a higher one, or let retry.delays_ms make the rounds, which begins anew with "
        "each round",
        listener->options.id, listener->options.queue, cny_id_of(message), (long long)count, (long long)limit);
}
