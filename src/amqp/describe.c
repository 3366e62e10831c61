/* SPDX-License-Identifier: MIT */
/* A message as one line for people: what is set of its properties and headers, and the beginning of a body that is
 * text. Allocates nothing. Any thread. */
#include "amqp/converter.h"
#include "amqp/decimal.h"
#include "amqp/instant.h"
#include "amqp/json_writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SHOWN_BYTES 50 /* of a body, as in Spring, and of a text in a header */

/* Pieces are written whole or not at all, so that the end is no half of a character. */
typedef struct line {
    char *buffer;
    size_t size;
    size_t used; /* by the whole line, which may be longer than the buffer */
    bool is_full;
} line;

static void put(line *to, const char *piece, size_t size)
{
    to->is_full |= to->used + size >= to->size;
    if (!to->is_full)
        memcpy(to->buffer + to->used, piece, size);
    to->used += size;
    if (!to->is_full)
        to->buffer[to->used] = '\0';
}

static void put_word(line *to, const char *word)
{
    put(to, word, strlen(word));
}

static void put_number(line *to, int64_t number)
{
    char text[24];
    put(to, text, (size_t)snprintf(text, sizeof text, "%" PRId64, number));
}

/* The log replaces what may not be shown, too, but a program may write the line elsewhere. */
static void put_safe(line *to, const char *text, size_t size)
{
    size_t length;
    for (const char *end = text + size; text < end; text += length) {
        bool is_shown = cny_text_step(text, (size_t)(end - text), &length);
        put(to, is_shown ? text : "?", is_shown ? length : 1);
    }
}

/* The beginning of a text, cut between two characters, in quotation marks. */
static void put_beginning(line *to, const char *text, size_t size)
{
    size_t shown = size < SHOWN_BYTES ? size : SHOWN_BYTES;
    while (shown < size && shown > SHOWN_BYTES - 4 && ((unsigned char)text[shown] & 0xc0) == 0x80)
        shown--;
    put_word(to, "'");
    put_safe(to, text, shown);
    put_word(to, shown < size ? "'..." : "'");
}

static void put_sized(line *to, const char *before, size_t bytes)
{
    put_word(to, before);
    put_number(to, (int64_t)bytes);
    put_word(to, bytes == 1 ? " byte)" : " bytes)");
}

/* ---- values ---- */

static void put_value(line *to, const coney_value *value);

static void put_array(line *to, const coney_array *array)
{
    put_word(to, "[");
    for (size_t i = 0; i < coney_array_size(array); i++) {
        put_word(to, i > 0 ? ", " : "");
        put_value(to, coney_array_at(array, i));
    }
    put_word(to, "]");
}

static void put_table(line *to, const coney_table *table)
{
    put_word(to, "{");
    for (size_t i = 0; i < coney_table_size(table); i++) {
        const char *name = coney_table_name_at(table, i);
        put_word(to, i > 0 ? ", " : "");
        put_safe(to, name, strlen(name));
        put_word(to, ": ");
        put_value(to, coney_table_value_at(table, i));
    }
    put_word(to, "}");
}

/* For the years 0 to 9999, else as a number. */
static void put_time(line *to, int64_t seconds)
{
    char text[CNY_INSTANT_ROOM];
    if (cny_instant_write(text, &(cny_instant){.seconds = seconds}))
        put_word(to, text);
    else
        put_number(to, seconds);
}

static void put_real(line *to, const coney_value *value)
{
    double real = value->as.real;
    char room[80];
    cny_buffer text;
    cny_buffer_on_stack(&text, room, sizeof room);
    if (isnan(real) || isinf(real))
        put_word(to, isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity");
    else if (value->type == CONEY_FLOAT ? cny_write_float(&text, (float)real) : cny_write_double(&text, real))
        put(to, room, text.size);
}

static void put_decimal(line *to, const coney_value *value)
{
    char text[CNY_DECIMAL_ROOM];
    cny_decimal_write(text, value);
    put_word(to, text);
}

static void put_value(line *to, const coney_value *value)
{
    switch (value->type) {
    case CONEY_VOID: put_word(to, "void"); break;
    case CONEY_BOOL: put_word(to, value->as.boolean ? "true" : "false"); break;
    case CONEY_FLOAT:
    case CONEY_DOUBLE: put_real(to, value); break;
    case CONEY_DECIMAL: put_decimal(to, value); break;
    case CONEY_STRING:
        put_beginning(to, value->as.bytes.data, value->as.bytes.size);
        if (value->as.bytes.size > SHOWN_BYTES)
            put_sized(to, " (", value->as.bytes.size);
        break;
    case CONEY_BYTES: put_sized(to, "(", value->as.bytes.size); break;
    case CONEY_TIMESTAMP: put_time(to, value->as.integer); break;
    case CONEY_ARRAY: put_array(to, value->as.array); break;
    case CONEY_TABLE: put_table(to, value->as.table); break;
    default: put_number(to, value->as.integer); break;
    }
}

/* ---- the parts of a message ---- */

static void put_text_part(line *to, const char *name, const char *text)
{
    if (!text)
        return;
    put_word(to, name);
    put_word(to, "'");
    put_safe(to, text, strlen(text));
    put_word(to, "'");
}

static void put_number_part(line *to, const char *name, int64_t number)
{
    put_word(to, name);
    put_number(to, number);
}

static void put_mode(line *to, const char *name, coney_delivery_mode mode)
{
    if (mode == CONEY_DELIVERY_DEFAULT)
        return;
    put_word(to, name);
    put_word(to, mode == CONEY_TRANSIENT ? "transient" : "persistent");
}

/* In another charset, or compressed, a body is not text for this purpose. */
static bool is_text(const coney_message *message)
{
    bool has_type =
        cny_content_type_is(message, "text/") || cny_content_type_is_json(message) || cny_content_type_is_xml(message);
    size_t size = message->size < SHOWN_BYTES ? message->size : SHOWN_BYTES;
    if (!has_type || !message->body || memchr(message->body, '\0', size))
        return false;
    ptrdiff_t broken = cny_utf8_error((const char *)message->body, size);
    return broken < 0 || (size < message->size && (size_t)broken + 4 > size);
}

static void put_body(line *to, const coney_message *message)
{
    put_word(to, "body ");
    if (is_text(message)) {
        put_beginning(to, (const char *)message->body, message->size);
        put_word(to, " ");
    }
    put_sized(to, "(", message->size);
}

static void put_properties(line *to, const coney_properties *properties)
{
    put_text_part(to, ", content_type ", properties->content_type);
    put_text_part(to, ", content_encoding ", properties->content_encoding);
    put_mode(to, ", delivery_mode ", properties->delivery_mode);
    if (properties->has_priority)
        put_number_part(to, ", priority ", properties->priority);
    put_text_part(to, ", correlation_id ", properties->correlation_id);
    put_text_part(to, ", reply_to ", properties->reply_to);
    put_text_part(to, ", expiration ", properties->expiration);
    put_text_part(to, ", message_id ", properties->message_id);
    if (properties->timestamp != 0) {
        put_word(to, ", timestamp ");
        put_time(to, properties->timestamp);
    }
    put_text_part(to, ", type ", properties->type);
    put_text_part(to, ", user_id ", properties->user_id);
    put_text_part(to, ", app_id ", properties->app_id);
    put_text_part(to, ", cluster_id ", properties->cluster_id);
    if (coney_table_size(properties->headers) > 0) {
        put_word(to, ", headers ");
        put_table(to, properties->headers);
    }
}

static void put_received(line *to, const coney_message *message)
{
    if (message->delivery_tag == 0)
        return;
    put_text_part(to, ", received from exchange ", message->exchange);
    put_text_part(to, " with routing key ", message->routing_key);
    put_text_part(to, ", received_user_id ", message->received_user_id);
    put_mode(to, ", received_delivery_mode ", message->received_delivery_mode);
    if (message->redelivered)
        put_word(to, ", redelivered");
    put_number_part(to, ", delivery_tag ", (int64_t)message->delivery_tag);
    if (message->left_in_queue >= 0)
        put_number_part(to, ", count ", message->left_in_queue);
    put_text_part(to, ", unreadable: ", message->defect);
}

size_t coney_message_describe(const coney_message *message, char *buffer, size_t size)
{
    line to = {.buffer = buffer, .size = buffer ? size : 0};
    if (to.size > 0)
        *buffer = '\0';
    if (!message)
        return 0;
    put_body(&to, message);
    put_properties(&to, &message->properties);
    put_received(&to, message);
    return to.used;
}
