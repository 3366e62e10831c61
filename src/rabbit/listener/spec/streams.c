/* SPDX-License-Identifier: MIT */
/* Which options do not go with a stream. A stream keeps its messages, so none goes back to it, and each of its
 * consumers gets all of them. Pure functions, on any thread. */
#include "rabbit/listener/spec/checks.h"

#include <string.h>

static const coney_value *argument_of(const coney_listener *options, const char *prefix)
{
    for (size_t i = 0; i < coney_table_size(options->arguments); i++) {
        if (strncmp(coney_table_name_at(options->arguments, i), prefix, strlen(prefix)) == 0)
            return coney_table_value_at(options->arguments, i);
    }
    return NULL;
}

static coney_queue_kind declared_kind(const coney_listener *options)
{
    return options->declare ? cny_queue_kind(options->declare) : CONEY_QUEUE_DEFAULT;
}

bool cny_is_stream(const coney_listener *options)
{
    bool has_argument = argument_of(options, "x-stream-") != NULL;
    return options->stream || has_argument || declared_kind(options) == CONEY_STREAM;
}

/* Such as "10m" for ten minutes ago. */
static bool is_interval(const char *text, size_t size)
{
    size_t digits = 0;
    while (digits < size && text[digits] >= '0' && text[digits] <= '9')
        digits++;
    return digits > 0 && digits + 1 == size && strchr("YMDhms", text[digits]) != NULL;
}

static bool is_text(const coney_value *value, const char *expected)
{
    return value->as.bytes.size == strlen(expected) && memcmp(value->as.bytes.data, expected, strlen(expected)) == 0;
}

/* Any other value makes RabbitMQ close the connection, with all other consumers on it. */
static coney_status check_offset(const coney_value *value)
{
    if (!value)
        return CONEY_OK;
    bool is_number = value->type <= CONEY_INT64 && value->type != CONEY_BOOL;
    if ((is_number || value->type == CONEY_TIMESTAMP) && value->as.integer >= 0)
        return CONEY_OK;
    if (value->type != CONEY_STRING)
        return is_number ? cny_fail(CONEY_E_INVALID,
                                    "the argument " CONEY_HEADER_STREAM_OFFSET " is %lld; an offset is not below 0",
                                    (long long)value->as.integer)
                         : cny_fail(CONEY_E_INVALID,
                                    "the argument " CONEY_HEADER_STREAM_OFFSET " is neither a text, an integer nor a "
                                    "timestamp");
    bool is_known = is_text(value, "first") || is_text(value, "last") || is_text(value, "next") ||
                    is_interval(value->as.bytes.data, value->as.bytes.size);
    return is_known ? CONEY_OK
                    : cny_fail(CONEY_E_INVALID,
                               "the argument " CONEY_HEADER_STREAM_OFFSET
                               " is '%.*s'; as a text it is first, last, next or an interval "
                               "such as 10m",
                               (int)(value->as.bytes.size < 255 ? value->as.bytes.size : 255), value->as.bytes.data);
}

static coney_status check_retry(const coney_listener_retry *retry)
{
    if (retry->delays_ms[0] != 0)
        return cny_fail(CONEY_E_INVALID,
                        "retry.delays_ms[0] is %d, and a stream cannot take a message back for another round; take "
                        "max_attempts, or a parking_queue",
                        retry->delays_ms[0]);
    if (retry->stateful)
        return cny_fail(CONEY_E_INVALID, "retry.%s gives messages back, and a stream takes none; take max_attempts",
                        retry->delayed_by_queue ? "delayed_by_queue" : "stateful");
    if (retry->exhausted == CONEY_EXHAUSTED_REQUEUE)
        return cny_fail(CONEY_E_INVALID,
                        "retry.exhausted is CONEY_EXHAUSTED_REQUEUE, and a stream takes no message back; "
                        "take CONEY_EXHAUSTED_PARK or another one");
    return CONEY_OK;
}

coney_status cny_check_stream(const coney_listener *options)
{
    coney_queue_kind kind = declared_kind(options);
    if (kind != CONEY_STREAM && kind != CONEY_QUEUE_DEFAULT)
        return cny_fail(CONEY_E_INVALID,
                        "stream, or an argument x-stream-..., goes with a stream; declare is a %s queue",
                        kind == CONEY_QUORUM ? "quorum" : "classic");
    if (options->acknowledge == CONEY_ACKNOWLEDGE_NONE)
        return cny_fail(CONEY_E_INVALID, "acknowledge is CONEY_ACKNOWLEDGE_NONE; a stream is consumed with "
                                         "acknowledgements only, take CONEY_ACKNOWLEDGE_AUTO and ack_every");
    if (options->exclusive)
        return cny_fail(CONEY_E_INVALID,
                        "exclusive does not go with a stream: each of its consumers gets all messages");
    if (options->concurrency > 1 || options->max_concurrency > 1)
        return cny_fail(CONEY_E_INVALID,
                        "a listener of a stream has one consumer, because each would get all messages; concurrency is "
                        "%d, max_concurrency %d; take lanes",
                        options->concurrency, options->max_concurrency);
    if (options->priority != 0)
        return cny_fail(CONEY_E_INVALID, "priority is %d; consumers of a stream have none", options->priority);
    coney_status status = check_offset(argument_of(options, CONEY_HEADER_STREAM_OFFSET));
    return status == CONEY_OK ? check_retry(&options->retry) : status;
}
