/* SPDX-License-Identifier: MIT */
/* Why a consumer does not consume: kept for the container's health, and told once by log and event. On the supervisor,
 * under the container's lock, so log lines are deferred. */
#include "rabbit/listener/consuming/consumer.h"

#include <string.h>

bool cny_is_refused_exclusive(const coney_error *error)
{
    return error->status == CONEY_E_ACCESS_REFUSED && strstr(error->text, "in exclusive use");
}

bool cny_consumer_is_lost(const cny_consumer *consumer)
{
    const coney_error *error = cny_error_view(consumer->last_error);
    return error && cny_is_loss(error->status) && !consumer->isolation.is_refused;
}

void cny_consumer_forget_last_error(cny_consumer *consumer)
{
    cny_error_unref(consumer->last_error);
    consumer->last_error = NULL;
}

bool cny_consumer_set_last_error(cny_consumer *consumer, const char *what, bool given_up)
{
    const char *queue = consumer->listener->spec.options.queue;
    if (consumer->has_consumed)
        cny_fail_in("a consumer of queue '%s' %s", queue, what);
    else
        cny_fail_in("consume from queue '%s'", queue);
    cny_error *error = cny_error_capture();
    const coney_error *view = cny_error_view(error), *before = cny_error_view(consumer->last_error);
    bool tells_more = before && (before->status == CONEY_E_LOST || consumer->isolation.is_refused);
    bool is_of_connection = view->status == CONEY_E_CONNECT && !given_up;
    if (is_of_connection && tells_more) {
        cny_error_unref(error);
        return false;
    }
    bool known = before && strcmp(before->text, view->text) == 0;
    cny_consumer_forget_last_error(consumer);
    consumer->last_error = error;
    return !known && !is_of_connection;
}

/* The broker's consumer_timeout (default: 30 minutes) ends the channel each time a handler takes that long, so the
 * program is told what helps. */
coney_status cny_consumer_raise_loss(const cny_error *reason)
{
    coney_status status = cny_error_raise(reason);
    const char *text = coney_last_error();
    if (!strstr(text, "delivery acknowledgement") || !strstr(text, "timed out"))
        return status;
    return cny_fail_code(status, coney_last_error_details()->broker_code,
                         "%s; so that messages are acknowledged in time, lower retry.first_delay_ms, "
                         "retry.max_delay_ms, retry.max_attempts or prefetch, or raise the broker's consumer_timeout",
                         text);
}

/* ---- what is told ---- */

static const char *tag_of(const cny_consumer *consumer)
{
    cny_channel *channel = consumer->source.channel;
    return channel ? cny_channel_consumer_tag(channel) : consumer->tag;
}

void cny_consumer_tell(const cny_consumer *consumer, coney_container_event_kind kind, const cny_error *error)
{
    cny_tell(consumer->container->events, &(cny_event){.kind = kind,
                                                       .listener = &consumer->listener->spec.options,
                                                       .consumer_tag = tag_of(consumer),
                                                       .error = error});
}

void cny_consumer_tell_failed(const cny_consumer *consumer, bool fatal)
{
    coney_container *container = consumer->container;
    const coney_error *error = cny_error_view(consumer->last_error);
    coney_log_level level = cny_is_refused_exclusive(error) ? CONEY_LOG_DEBUG
                            : fatal                         ? CONEY_LOG_ERROR
                                                            : CONEY_LOG_WARN;
    cny_defer_log(&container->deferred_log, level, "container '%s': %s", container->options.name, error->text);
    cny_tell(container->events, &(cny_event){.kind = CONEY_CONSUMER_FAILED,
                                             .listener = &consumer->listener->spec.options,
                                             .consumer_tag = tag_of(consumer),
                                             .error = consumer->last_error,
                                             .fatal = fatal});
}
