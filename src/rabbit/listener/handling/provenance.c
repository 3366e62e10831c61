/* SPDX-License-Identifier: MIT */
/* Where a message comes from, by what its headers tell. Anyone may send any header, so what the broker writes is read
 * with care, and what Coney has written is believed only if the broker says that the message comes from where Coney
 * sent it. Pure functions, any thread. */
#include "rabbit/listener/handling/provenance.h"

#include <coney/amqp/death.h>

#include <string.h>

static bool is_text(const char *text, const char *expected)
{
    return strcmp(text, expected) == 0;
}

static bool is_rejection(const coney_death *death, const char *queue)
{
    return (!queue || is_text(death->queue, queue)) && is_text(death->reason, CONEY_DEATH_REJECTED);
}

/* All entries are read, because a sender may put any number of entries before the broker's. The headers of a message
 * that can be read have a bounded number of entries. */
int64_t cny_rejections(const char *queue, const coney_message *message)
{
    int64_t count = 0;
    coney_death death;
    for (size_t at = 0; coney_message_next_death(message, &at, &death);) {
        if (is_rejection(&death, queue))
            count += cny_bounded_count(death.count);
    }
    return cny_bounded_count(count);
}

/* A queue has rejected it, or found its count too high: so the broker has counted before the message came here. */
bool cny_has_counted_death(const coney_message *message)
{
    bool has = false;
    coney_death death;
    for (size_t at = 0; !has && coney_message_next_death(message, &at, &death);)
        has = is_rejection(&death, NULL) || is_text(death.reason, CONEY_DEATH_DELIVERY_LIMIT);
    return has;
}

/* The death that has brought the message here: the broker puts the latest one first. */
static bool find_latest_death(const coney_message *message, coney_death *latest)
{
    return coney_message_next_death(message, &(size_t){0}, latest);
}

bool cny_was_dead_lettered(const coney_message *message)
{
    coney_death latest;
    return find_latest_death(message, &latest);
}

static bool has_expired(const coney_death *death)
{
    return is_text(death->reason, CONEY_DEATH_EXPIRED);
}

/* A message that was rejected after the ladder, or forwarded to another queue, begins anew there. */
static bool comes_from(const coney_message *message, const char *delay_queue)
{
    coney_death latest;
    return find_latest_death(message, &latest) && is_text(latest.queue, delay_queue) && has_expired(&latest);
}

int cny_ladder_round(const cny_spec *spec, const coney_message *message)
{
    int64_t round = cny_header_count(message->properties.headers, CONEY_HEADER_RETRY_COUNT);
    bool is_ours = round > 0 && round <= spec->delay_count && comes_from(message, spec->delay_queues[round - 1]);
    return is_ours ? (int)round : 0;
}

/* The sum may wrap, as the broker's own count does after INT64_MAX. */
bool cny_expired_after_rejection(const cny_spec *spec, const coney_message *message, uint64_t *rejections)
{
    const char *queue = spec->options.queue;
    coney_death death;
    bool is_rejected = false;
    *rejections = 0;
    if (!find_latest_death(message, &death) || !has_expired(&death) || is_text(death.queue, queue))
        return false;
    for (size_t at = 0; coney_message_next_death(message, &at, &death);) {
        if (is_rejection(&death, queue)) {
            is_rejected = true;
            *rejections += (uint64_t)death.count;
        }
    }
    return is_rejected;
}

/* A message that was moved back from a dead-letter queue, after that, begins anew. */
bool cny_is_condemned(const cny_spec *spec, const coney_message *message)
{
    const char *by = coney_table_get_string(message->properties.headers, CONEY_HEADER_ENDED_BY);
    return by && cny_spec_is_guarded(spec) && strcmp(by, spec->quarantine_queue) == 0 &&
           !coney_message_header(message, CONEY_HEADER_DEATH);
}

/* The broker and the quarantine send a message back through the default exchange. A publisher who may not use that
 * exchange cannot forge an address. */
static bool is_sent_to(const coney_message *message, const char *queue)
{
    return message->exchange[0] == '\0' && strcmp(message->routing_key, queue) == 0;
}

static const char *address_in(const coney_message *message, const char *header)
{
    const char *text = coney_table_get_string(message->properties.headers, header);
    return text && strlen(text) <= CNY_MAX_SHORT_STRING ? text : NULL;
}

void cny_restore_address(const cny_spec *spec, coney_message *message)
{
    bool may_be_back = is_sent_to(message, spec->options.queue);
    const char *exchange = may_be_back ? address_in(message, CONEY_HEADER_ORIGINAL_EXCHANGE) : NULL;
    const char *key = exchange ? address_in(message, CONEY_HEADER_ORIGINAL_ROUTING_KEY) : NULL;
    if (!key || (cny_ladder_round(spec, message) == 0 && !cny_is_condemned(spec, message)))
        return;
    message->exchange = exchange;
    message->routing_key = key;
}
