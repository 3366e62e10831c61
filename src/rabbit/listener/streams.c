/* SPDX-License-Identifier: MIT */
/* Listeners of a stream. A stream keeps its messages: a consumer gets them from an offset on, and its acknowledgements
 * only ask for more. So the listener must know where to go on after a loss: at the lowest offset that is not
 * acknowledged. Here is what the options may not say, and that position. */
#include "rabbit/listener/listener.h"

#include <string.h>

#define STREAM_ATTEMPTS 3
#define OFFSET "x-stream-offset" /* an argument of basic.consume, and a header of what comes */

/* ---- options ---- */

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
        return is_number ? cny_fail(CONEY_E_INVALID, "the argument " OFFSET " is %lld; an offset is not below 0",
                                    (long long)value->as.integer)
                         : cny_fail(CONEY_E_INVALID, "the argument " OFFSET " is neither a text, an integer nor a "
                                                     "timestamp");
    bool is_known = is_text(value, "first") || is_text(value, "last") || is_text(value, "next") ||
                    is_interval(value->as.bytes.data, value->as.bytes.size);
    return is_known ? CONEY_OK
                    : cny_fail(CONEY_E_INVALID,
                               "the argument " OFFSET " is '%.*s'; as a text it is first, last, next or an interval "
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
    coney_status status = check_offset(argument_of(options, OFFSET));
    return status == CONEY_OK ? check_retry(&options->retry) : status;
}

bool cny_listener_is_stream(const cny_listener *listener)
{
    return cny_listener_queue_kind(listener) == CONEY_STREAM;
}

bool cny_listener_has_retry(const cny_listener *listener)
{
    return listener->has_retry || cny_listener_is_stream(listener);
}

int cny_listener_max_attempts(const cny_listener *listener)
{
    bool is_default = cny_listener_is_stream(listener) && !listener->has_own_attempts;
    return is_default ? STREAM_ATTEMPTS : listener->options.retry.max_attempts;
}

/* ---- the position ---- */

/* A message that is not acknowledged. */
struct cny_place {
    uint64_t tag;
    int64_t offset; /* UNKNOWN: of one whose headers cannot be read, and nothing came before */
};

#define UNKNOWN (-1)

void cny_position_init(cny_position *position)
{
    position->next = position->last = UNKNOWN;
    pthread_mutex_init(&position->lock, NULL);
}

void cny_position_free(cny_position *position)
{
    cny_free(position->places);
    pthread_mutex_destroy(&position->lock);
}

void cny_position_restart(cny_position *position)
{
    pthread_mutex_lock(&position->lock);
    position->is_gone = true;
    pthread_mutex_unlock(&position->lock);
}

static int64_t forget_places(cny_position *position)
{
    pthread_mutex_lock(&position->lock);
    if (position->is_gone && position->next != UNKNOWN)
        position->next = 0;
    int64_t next = position->next;
    position->is_gone = false;
    position->last = next == UNKNOWN ? UNKNOWN : next - 1;
    position->first = position->count = 0;
    position->channel = NULL;
    pthread_mutex_unlock(&position->lock);
    return next;
}

coney_status cny_position_begin(cny_listener *listener, cny_arena *arena, const coney_table **arguments)
{
    int64_t next = forget_places(&listener->position);
    *arguments = listener->options.arguments;
    if (next == UNKNOWN)
        return CONEY_OK;
    coney_table *resumed = cny_table_copy(arena, listener->options.arguments);
    if (!resumed || coney_table_set_int64(resumed, OFFSET, next) != CONEY_OK)
        return cny_fail_memory();
    *arguments = resumed;
    return CONEY_OK;
}

static void update(cny_position *position)
{
    bool any = position->count > 0;
    int64_t after = position->last == UNKNOWN ? UNKNOWN : position->last + 1;
    position->next = any ? position->places[position->first].offset : after;
}

/* Room for so many more. What a stream has written together comes together, so there may be more than the prefetch. */
static bool reserve(cny_position *position, size_t more)
{
    if (position->first + position->count + more <= position->capacity)
        return true;
    size_t wanted = position->count + more;
    if (wanted * 2 > position->capacity) {
        struct cny_place *places = cny_realloc(position->places, wanted * 2 * sizeof *places);
        if (!places)
            return false;
        position->places = places;
        position->capacity = wanted * 2;
    }
    memmove(position->places, position->places + position->first, position->count * sizeof *position->places);
    position->first = 0;
    return true;
}

static void add_place(cny_position *position, const coney_message *message)
{
    int64_t after = position->last == UNKNOWN ? UNKNOWN : position->last + 1;
    int64_t offset = coney_table_get_int64(message->properties.headers, OFFSET, after);
    position->last = offset;
    position->places[position->first + position->count++] = (struct cny_place){message->delivery_tag, offset};
}

bool cny_position_take(cny_position *position, const cny_channel *channel, coney_message *const *messages, size_t count)
{
    pthread_mutex_lock(&position->lock);
    position->channel = channel;
    bool has_room = reserve(position, count);
    for (size_t i = 0; i < count && has_room; i++)
        add_place(position, messages[i]);
    if (has_room)
        update(position);
    pthread_mutex_unlock(&position->lock);
    return has_room;
}

/* Tags rise. */
static struct cny_place *find(const cny_position *position, uint64_t tag)
{
    struct cny_place *low = position->places + position->first, *end = low + position->count, *high = end;
    while (low < high) {
        struct cny_place *middle = low + (high - low) / 2;
        if (middle->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && low->tag == tag ? low : NULL;
}

void cny_position_pass(cny_position *position, const cny_channel *channel, uint64_t tag)
{
    pthread_mutex_lock(&position->lock);
    bool is_current = position->channel == channel && position->count > 0;
    struct cny_place *place = is_current ? find(position, tag) : NULL;
    if (place) {
        struct cny_place *first = position->places + position->first;
        memmove(first + 1, first, (size_t)(place - first) * sizeof *first);
        position->first++;
        position->count--;
        update(position);
    }
    pthread_mutex_unlock(&position->lock);
}
