/* SPDX-License-Identifier: MIT */
/* Text that grows in a buffer, and what pictures and tables say of queues and exchanges. Any thread. */
#include "topology/writing.h"

#include "topology/fields.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void cny_write_text(cny_writing *to, const char *text, size_t size)
{
    to->has_failed = to->has_failed || !cny_buffer_append(&to->text, text, size);
}

void cny_write(cny_writing *to, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cny_write_text(to, text, size < (int)sizeof text ? (size_t)size : sizeof text - 1);
}

coney_status cny_writing_end(cny_writing *to, char **text)
{
    cny_write_text(to, "", 1);
    *text = to->has_failed ? NULL : cny_alloc(to->text.size);
    if (*text)
        memcpy(*text, to->text.data, to->text.size);
    cny_buffer_free(&to->text);
    return *text ? CONEY_OK : cny_fail_memory();
}

/* ---- properties ---- */

typedef struct listing {
    cny_writing *to;
    const char *between;
    bool has_any;
} listing;

static void list(listing *one, const char *text)
{
    cny_write(one->to, "%s%s", one->has_any ? one->between : "", text);
    one->has_any = true;
}

static void list_if(listing *one, bool condition, const char *text)
{
    if (condition)
        list(one, text);
}

static void list_value(listing *one, const char *name, const coney_value *value)
{
    char text[CNY_VALUE_TEXT], line[CNY_VALUE_TEXT + 300];
    cny_describe_value(value, text);
    snprintf(line, sizeof line, "%s %s", name, text);
    list(one, line);
}

static bool is_shown(const char *field)
{
    return strncmp(field, "dead_letter_", 12) != 0 && strcmp(field, "kind") != 0 &&
           strcmp(field, "alternate_exchange") != 0 && strcmp(field, "delayed") != 0;
}

static void list_fields(listing *one, const cny_typed_field *fields, size_t count, const coney_table *arguments)
{
    for (size_t i = 0; i < count; i++) {
        bool is_flag = fields[i].value.type == CONEY_BOOL;
        if (fields[i].value.type == CONEY_VOID || !is_shown(fields[i].field))
            continue;
        if (is_flag)
            list(one, fields[i].field);
        else
            list_value(one, fields[i].field, &fields[i].value);
    }
    for (size_t i = 0; i < coney_table_size(arguments); i++)
        list_value(one, coney_table_name_at(arguments, i), coney_table_value_at(arguments, i));
}

void cny_write_queue_properties(cny_writing *to, const coney_queue *queue, const char *between)
{
    static const char *const kinds[] = {"", "classic", "quorum", "stream"};
    listing one = {.to = to, .between = between};
    cny_typed_field fields[CNY_QUEUE_FIELDS];
    list_if(&one, queue->kind != CONEY_QUEUE_DEFAULT, kinds[queue->kind]);
    list_if(&one, queue->external, "external");
    list_if(&one, queue->exclusive, "exclusive");
    list_if(&one, queue->auto_delete, "auto-delete");
    list_if(&one, queue->transient, "transient");
    cny_read_queue_fields(fields, queue);
    list_fields(&one, fields, CNY_QUEUE_FIELDS, queue->arguments);
}

void cny_write_exchange_properties(cny_writing *to, const coney_exchange *exchange, const char *between)
{
    listing one = {.to = to, .between = between};
    cny_typed_field fields[CNY_EXCHANGE_FIELDS];
    coney_exchange undelayed = *exchange;
    undelayed.delayed = false;
    list(&one, cny_exchange_type_name(&undelayed));
    list_if(&one, exchange->delayed, "delayed");
    list_if(&one, exchange->external, "external");
    list_if(&one, exchange->internal, "internal");
    list_if(&one, exchange->auto_delete, "auto-delete");
    list_if(&one, exchange->transient, "transient");
    cny_read_exchange_fields(fields, exchange);
    list_fields(&one, fields, CNY_EXCHANGE_FIELDS, exchange->arguments);
}

void cny_write_arguments(cny_writing *to, const coney_table *arguments)
{
    const char *match = coney_table_get_string(arguments, "x-match");
    bool is_first = true;
    if (match)
        cny_write(to, "%s: ", match);
    for (size_t i = 0; i < coney_table_size(arguments); i++) {
        const char *name = coney_table_name_at(arguments, i);
        const coney_value *value = coney_table_value_at(arguments, i);
        char text[CNY_VALUE_TEXT];
        if (strcmp(name, "x-match") == 0)
            continue;
        cny_describe_value(value, text);
        cny_write(to, value->type == CONEY_VOID ? "%s%s" : "%s%s = %s", is_first ? "" : ", ", name, text);
        is_first = false;
    }
}
