/* SPDX-License-Identifier: MIT */
/* The copy of a message that is published when its attempts are used up, or when it goes to or from quarantine. Headers
 * of the sender are left out if they do not all fit a frame, or if Coney could not read them all, together with those
 * that the broker adds. Any thread. */
#include "rabbit/listener/handling/exhausted.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/provenance.h"

#include <coney/amqp/batch.h>

#include <stdio.h>
#include <string.h>

#define MAX_TEXT 1000     /* bytes of the header that tells the reason: all headers must fit one frame */
#define MAX_NAMES 300     /* bytes of the names of headers that are left out: there is room for any name */
#define LEFT_OUT_ROOM 400 /* for the header with these names */
#define BROKER_ROOM 1024  /* for what the broker adds when it dead-letters the copy: x-death and its like */
#define BROKER_ENTRIES 24 /* for the same, but x-death, and for its counts */
#define OWN_ENTRIES 8     /* for what Coney adds to a copy; one that comes back has them */

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0)
            return true;
    }
    return false;
}

/* Headers that hold for the original and not for the copy: the broker counts anew, and the copy goes to one queue, not
 * once more to those in CC. As in Spring a retry-count stays, for people to read. */
static bool is_left_out(const char *name, bool keeps_origin)
{
    static const char *const names[] = {CONEY_HEADER_CC,
                                        CONEY_HEADER_BCC,
                                        CONEY_HEADER_DEATH,
                                        CONEY_HEADER_DELIVERY_COUNT,
                                        CONEY_HEADER_ACQUIRED_COUNT,
                                        CONEY_HEADER_EXCEPTION_MESSAGE};
    static const char *const origins[] = {CONEY_HEADER_ORIGINAL_EXCHANGE, CONEY_HEADER_ORIGINAL_ROUTING_KEY};
    return is_one_of(name, names, sizeof names / sizeof *names) ||
           (!keeps_origin && is_one_of(name, origins, sizeof origins / sizeof *origins)) ||
           strncmp(name, "x-first-death-", 14) == 0 || strncmp(name, "x-last-death-", 13) == 0;
}

/* Without these headers a copy cannot be read, or goes the wrong way. So they stay before any other header of the
 * sender. */
static const char *const kept_first[] = {
    CONEY_HEADER_ORIGINAL_EXCHANGE, CONEY_HEADER_ORIGINAL_ROUTING_KEY, CONEY_HEADER_ENDED_BY,
    CONEY_HEADER_TYPE_ID,           CONEY_HEADER_CONTENT_TYPE_ID,      CONEY_HEADER_KEY_TYPE_ID,
    CONEY_HEADER_BATCH_FORMAT,      CONEY_HEADER_BATCH_SIZE,           CONEY_HEADER_TRACEPARENT,
    CONEY_HEADER_TRACESTATE,
};

/* ---- filling the headers ---- */

typedef struct filling {
    coney_table *headers;
    const coney_table *from;
    bool keeps_origin; /* in quarantine the headers tell the original address, elsewhere the message does */
    size_t room;       /* bytes; SIZE_MAX: no limit */
    size_t used;
    size_t entries;  /* that may still be put in */
    size_t left_out; /* headers; the first of them are named, as far as there is room */
    size_t named;
    char names[MAX_NAMES + 1];
} filling;

/* Only whole names, and no further name after one for which there was no room. */
static void note_left_out(filling *to, const char *name)
{
    size_t used = strlen(to->names), room = sizeof to->names - used;
    const char *between = to->named > 0 ? ", " : "";
    if (to->named == to->left_out++ && strlen(between) + strlen(name) < room) {
        snprintf(to->names + used, room, "%s%s", between, name);
        to->named++;
    }
}

/* Puts in a view, unchecked: another client may have sent a header that Coney would refuse, and its message must be
 * parked like any other. */
static bool put_foreign(filling *to, const char *name, const coney_value *value)
{
    if (is_left_out(name, to->keeps_origin) || coney_table_get(to->headers, name))
        return true;
    size_t size = to->room < SIZE_MAX ? cny_entry_wire_size(name, value) : 0;
    size_t entries = cny_count_entries(value);
    if (size > to->room - to->used || entries > to->entries) {
        note_left_out(to, name);
        return true;
    }
    to->used += size;
    to->entries -= entries;
    return cny_table_put(to->headers, name, *value);
}

static bool put_kept_first(filling *to)
{
    for (size_t i = 0; i < sizeof kept_first / sizeof *kept_first; i++) {
        const coney_value *value = coney_table_get(to->from, kept_first[i]);
        if (value && !put_foreign(to, kept_first[i], value))
            return false;
    }
    return true;
}

static bool put_others(filling *to)
{
    for (size_t i = 0; i < coney_table_size(to->from); i++) {
        const char *name = coney_table_name_at(to->from, i);
        bool is_done = is_one_of(name, kept_first, sizeof kept_first / sizeof *kept_first);
        if (!is_done && !put_foreign(to, name, coney_table_value_at(to->from, i)))
            return false;
    }
    return true;
}

static bool set_text(coney_table *headers, const char *name, const char *text)
{
    char kept[MAX_TEXT + 1];
    snprintf(kept, sizeof kept, "%s", text);
    ptrdiff_t broken = cny_utf8_error(kept, strlen(kept)); /* where it was cut, perhaps */
    if (broken >= 0)
        kept[broken] = '\0';
    return coney_table_set_string(headers, name, kept) == CONEY_OK;
}

/* In quarantine the header is there already. */
static bool set_origin(coney_table *headers, const char *name, const char *text)
{
    return coney_table_get(headers, name) || cny_table_put(headers, name, coney_value_string(text));
}

int cny_attempts_made(const coney_delivery *delivery)
{
    return delivery->transfer != CNY_NO_TRANSFER ? delivery->earlier_attempts : coney_delivery_attempt(delivery);
}

static coney_value ended_by(const coney_delivery *delivery)
{
    return coney_value_string(delivery->source->handling->spec->quarantine_queue);
}

static bool set_own(coney_table *headers, const coney_delivery *delivery, const cny_copy_form *form)
{
    const coney_message *original = cny_original(delivery);
    const coney_value by = delivery->transfer == CNY_CONDEMNED ? ended_by(delivery) : (coney_value){0};
    return set_origin(headers, CONEY_HEADER_ORIGINAL_EXCHANGE, original->exchange) &&
           set_origin(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, original->routing_key) &&
           coney_table_set_int64(headers, CONEY_HEADER_ATTEMPTS, cny_attempts_made(delivery)) == CONEY_OK &&
           (delivery->transfer != CNY_CONDEMNED || coney_table_set(headers, CONEY_HEADER_ENDED_BY, &by) == CONEY_OK) &&
           (form->round == 0 || coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, form->round) == CONEY_OK) &&
           (!form->with_text || set_text(headers, CONEY_HEADER_EXCEPTION_MESSAGE, cny_failure_text(delivery)));
}

static bool set_left_out(const filling *to, cny_copy_form *form)
{
    char more[40] = "";
    form->left_out[0] = '\0';
    if (to->left_out == 0)
        return true;
    if (to->left_out > to->named)
        snprintf(more, sizeof more, " and %zu more", to->left_out - to->named);
    snprintf(form->left_out, sizeof form->left_out, "%zu header%s: %s%s", to->left_out, to->left_out == 1 ? "" : "s",
             to->names, more);
    return set_text(to->headers, CONEY_HEADER_LEFT_OUT, form->left_out);
}

/* ---- the message ---- */

/* How many bytes of headers the frame of a content header has room for, beside the other properties. */
static size_t room_for_headers(const coney_properties *properties, size_t frame)
{
    const char *const texts[] = {properties->content_type, properties->content_encoding, properties->correlation_id,
                                 properties->reply_to,     properties->message_id,       properties->type,
                                 properties->app_id,       properties->cluster_id};
    size_t used = 64 + LEFT_OUT_ROOM + BROKER_ROOM; /* 64: all that has a fixed size, and a content type by default */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        used += texts[i] ? 1 + strlen(texts[i]) : 0;
    return used < frame ? frame - used : 0;
}

static bool fill(coney_table *headers, const coney_delivery *delivery, cny_copy_form *form)
{
    const coney_properties *properties = &cny_original(delivery)->properties;
    bool is_back = cny_is_own_copy(delivery->source, cny_original(delivery));
    filling to = {.headers = headers,
                  .from = properties->headers,
                  .keeps_origin = delivery->source->is_quarantine,
                  .entries = CNY_MAX_ENTRIES - BROKER_ENTRIES - (is_back ? 0 : OWN_ENTRIES),
                  .room = form->fits ? room_for_headers(properties, form->frame) : SIZE_MAX};
    if (!put_kept_first(&to) || !set_own(headers, delivery, form))
        return false;
    to.used = form->fits ? cny_table_wire_size(headers) : 0;
    if (to.used > to.room)
        to.used = to.room;
    return put_others(&to) && set_left_out(&to, form);
}

/* The copy that the final action publishes is persistent, and has no expiration: it is to wait for a person. A copy
 * that comes back to its queue, by the ladder or by quarantine, is as transient as its sender wanted the message. */
static coney_delivery_mode mode_of(const coney_delivery *delivery, const cny_copy_form *form)
{
    return form->comes_back ? cny_original(delivery)->received_delivery_mode : CONEY_PERSISTENT;
}

coney_status cny_copy_make(coney_message **copy, coney_delivery *delivery, cny_copy_form *form)
{
    coney_table *headers = coney_table_new();
    coney_status status = headers && fill(headers, delivery, form) ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK) {
        coney_properties properties = cny_original(delivery)->properties;
        properties.headers = headers;
        properties.delivery_mode = mode_of(delivery, form);
        properties.expiration = NULL;
        status = cny_message_with(copy, cny_original(delivery), &properties);
    }
    coney_table_free(headers);
    return status;
}
