/* SPDX-License-Identifier: MIT */
/* Which attempt to handle a message this is. Three witnesses know something: headers that the broker writes, headers
 * that the ladder writes, which are believed only if the broker says that the message comes from there, and a memory
 * by message id of what has happened to messages in this process. Any thread. */
#include "rabbit/listener/handling/attempts.h"

#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/provenance.h"

/* ---- the broker's count ---- */

/* A quorum queue counts each message that comes back to it, so a redelivery without a count proves that the queue is
 * no quorum queue. Without this, a count that a publisher has written himself would be believed as soon as his message
 * comes back, on a classic queue of which nobody says what it is. */
static void note_no_count(cny_handling *handling)
{
    int unknown = CONEY_QUEUE_DEFAULT;
    atomic_compare_exchange_strong(&handling->spec->queue.kind, &unknown, CONEY_CLASSIC);
}

/* How often the message has come back to this queue, by the count of a quorum queue; -1: nobody has counted. A
 * publisher may send such a header, too, but the broker replaces that when the message comes back.
 *
 * A rejected message keeps its count when it is dead-lettered. RabbitMQ 3.10 starts anew when it comes to its next
 * queue. RabbitMQ 4.0 starts anew there, too, but shows the number of rejections until the message comes back for the
 * first time. RabbitMQ 4.3, the only one with x-acquired-count, goes on counting, so rejections by any queue are a part
 * of its count: if there are more of them, the broker has not written them, or they were made by basic.nack. */
static int64_t counted_returns(cny_handling *handling, const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    bool has_acquired = coney_table_get(headers, CONEY_HEADER_ACQUIRED_COUNT) != NULL;
    if (!message->redelivered || cny_spec_queue_kind(handling->spec) == CONEY_CLASSIC)
        return -1;
    if (!has_acquired && !coney_table_get(headers, CONEY_HEADER_DELIVERY_COUNT)) {
        note_no_count(handling);
        return -1;
    }
    int64_t count = cny_header_count(headers, CONEY_HEADER_DELIVERY_COUNT);
    int64_t here = cny_rejections(handling->spec->options.queue, message), anywhere = cny_rejections(NULL, message);
    if (has_acquired)
        return count >= anywhere ? count - anywhere : count;
    bool is_of_4_0 = coney_table_get(headers, CONEY_HEADER_LAST_DEATH_QUEUE) != NULL;
    return is_of_4_0 && count > 0 && (count == here || count == anywhere) ? 0 : count;
}

/* ---- all together ---- */

/* Returns that RabbitMQ 4.3 has not counted, since the message came to this queue: by basic.nack and by a consumer's
 * time-out. Older releases count all of them. */
static int64_t uncounted_returns(const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    int64_t uncounted =
        cny_header_count(headers, CONEY_HEADER_ACQUIRED_COUNT) - cny_header_count(headers, CONEY_HEADER_DELIVERY_COUNT);
    return uncounted > 0 ? uncounted : 0;
}

/* How often the message has come back, by the broker's count, without the deliveries of which this process knows that
 * no handler had them: these were no attempts. A delivery that went back from another process may have been an attempt,
 * so it is counted. -1: the broker does not count. RabbitMQ 4.3 does not begin anew when a message leaves its queue by
 * dead-lettering, so there returns to other queues are counted, too. */
static int64_t returns(cny_handling *handling, const coney_message *message)
{
    int64_t count = counted_returns(handling, message);
    cny_history history;
    if (count <= 0 || !cny_history_of(&handling->memory->histories, message, &history))
        return count;
    int64_t unseen = history.unseen - uncounted_returns(message);
    return unseen <= 0 ? count : count > unseen ? count - unseen : 0;
}

int64_t cny_returns_here(cny_handling *handling, const coney_message *message)
{
    int64_t count = returns(handling, message);
    int64_t acquired = cny_header_count(message->properties.headers, CONEY_HEADER_ACQUIRED_COUNT);
    return acquired > 0 && acquired < count ? acquired : count;
}

bool cny_has_just_come(const coney_message *message)
{
    int64_t acquired = cny_header_count(message->properties.headers, CONEY_HEADER_ACQUIRED_COUNT);
    return acquired > 0 && acquired == cny_header_count(message->properties.headers, CONEY_HEADER_DELIVERY_COUNT) &&
           cny_has_counted_death(message);
}

int64_t cny_redeliveries(cny_handling *handling, const coney_message *message)
{
    int64_t count = returns(handling, message);
    cny_history history;
    bool is_known = message->redelivered && cny_history_of(&handling->memory->histories, message, &history);
    if (is_known && handling->spec->options.retry.stateful)
        return count > history.failed ? count : history.failed;
    return count >= 0 ? count : message->redelivered;
}

bool cny_is_own_copy(const cny_source *source, const coney_message *message)
{
    return source->is_quarantine || cny_ladder_round(source->handling->spec, message) > 0 ||
           cny_is_condemned(source->handling->spec, message);
}

int cny_earlier_attempts(const cny_source *source, const coney_message *message)
{
    cny_handling *handling = source->handling;
    int round = cny_ladder_round(handling->spec, message);
    int64_t before =
        cny_is_own_copy(source, message) ? cny_header_count(message->properties.headers, CONEY_HEADER_ATTEMPTS) : 0;
    if (before < round)
        before = round;
    int64_t count =
        before + cny_redeliveries(handling, message) + cny_rejections(handling->spec->options.queue, message);
    return count < CNY_MOST_COUNTED ? (int)count : CNY_MOST_COUNTED;
}
