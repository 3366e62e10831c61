/* SPDX-License-Identifier: MIT */
/* A topology as a table for people. Any thread. */
#include "topology/writing.h"

#include <coney/amqp/topology_picture.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 4 };

/* Rows of texts; each column is as wide as its widest text. */
typedef struct rows {
    cny_writing to;
    cny_arena arena;
    cny_buffer cells; /* of const char *, COLUMNS for each row */
    bool has_failed;
} rows;

/* Control characters would spoil the lines. */
static void clean(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
    }
}

static void add_cell(rows *all, const char *text, size_t size)
{
    char *copy = cny_arena_copy(&all->arena, text, size);
    if (copy)
        clean(copy);
    if (!copy || !cny_buffer_append(&all->cells, &copy, sizeof(char *)))
        all->has_failed = true;
}

static void add_row(rows *all, const char *first, const char *second, const char *third, const char *last)
{
    const char *cells[COLUMNS] = {first, second, third, last};
    for (size_t i = 0; i < COLUMNS; i++)
        add_cell(all, cells[i], strlen(cells[i]));
}

/* The characters of a text, which is not its bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void write_rows(rows *all)
{
    size_t count = all->cells.size / sizeof(char *), widths[COLUMNS] = {0};
    const char **cells = (const char **)(void *)all->cells.data;
    for (size_t i = 0; i < count && !all->has_failed; i++) {
        size_t width = width_of(cells[i]);
        widths[i % COLUMNS] = width > widths[i % COLUMNS] ? width : widths[i % COLUMNS];
    }
    for (size_t row = 0; row + COLUMNS <= count && !all->has_failed; row += COLUMNS) {
        size_t last = COLUMNS - 1;
        while (last > 0 && !*cells[row + last])
            last--;
        for (size_t i = 0; i <= last; i++) {
            const char *cell = cells[row + i];
            size_t pad = i < last ? widths[i] - width_of(cell) + 2 : 0;
            cny_write_text(&all->to, cell, strlen(cell));
            while (pad-- > 0)
                cny_write_text(&all->to, " ", 1);
        }
        cny_write(&all->to, "\n");
    }
    all->to.has_failed = all->to.has_failed || all->has_failed;
}

static void end_rows(rows *all)
{
    write_rows(all);
    all->cells.size = 0;
}

/* ---- what is in the rows ---- */

typedef void write_properties(cny_writing *to, const void *thing);

static void queue_properties(cny_writing *to, const void *queue)
{
    cny_write_queue_properties(to, queue, ", ");
}

static void exchange_properties(cny_writing *to, const void *exchange)
{
    cny_write_exchange_properties(to, exchange, ", ");
}

static void binding_properties(cny_writing *to, const void *binding)
{
    cny_write_arguments(to, ((const coney_binding *)binding)->arguments);
}

static void add_thing(rows *all, const char *first, const char *second, const char *third, write_properties *write,
                      const void *thing)
{
    cny_writing line = {0};
    write(&line, thing);
    cny_write_text(&line, "", 1);
    add_row(all, first, second, third, line.has_failed ? "" : (const char *)line.text.data);
    all->has_failed = all->has_failed || line.has_failed;
    cny_buffer_free(&line.text);
}

static void write_exchanges(rows *all, const coney_topology *topology)
{
    size_t count;
    const coney_exchange *exchanges = cny_topology_exchanges(topology, &count);
    if (count > 0)
        add_row(all, "EXCHANGE", "ALTERNATE", "", "PROPERTIES");
    for (size_t i = 0; i < count; i++)
        add_thing(all, exchanges[i].name, exchanges[i].alternate_exchange ? exchanges[i].alternate_exchange : "-", "",
                  exchange_properties, &exchanges[i]);
    end_rows(all);
}

static void write_queues(rows *all, const coney_topology *topology)
{
    size_t count;
    const coney_queue *queues = cny_topology_queues(topology, &count);
    if (count > 0)
        add_row(all, "QUEUE", "DEAD LETTERS TO", "WITH KEY", "PROPERTIES");
    for (size_t i = 0; i < count; i++) {
        const char *exchange = queues[i].dead_letter_exchange, *key = queues[i].dead_letter_routing_key;
        add_thing(all, queues[i].name,
                  !exchange   ? "-"
                  : *exchange ? exchange
                              : "(default exchange)",
                  key ? key : "-", queue_properties, &queues[i]);
    }
    end_rows(all);
}

static void write_bindings(rows *all, const coney_topology *topology)
{
    size_t count;
    const coney_binding *bindings = cny_topology_bindings(topology, &count);
    if (count > 0)
        add_row(all, "FROM EXCHANGE", "TO", "KEY", "ARGUMENTS");
    for (size_t i = 0; i < count; i++) {
        char to[CONEY_NAME_SIZE + 16];
        snprintf(to, sizeof to, "%s%s", bindings[i].destination, bindings[i].to_exchange ? " (exchange)" : "");
        add_thing(all, bindings[i].exchange, to,
                  bindings[i].routing_key && *bindings[i].routing_key ? bindings[i].routing_key : "\"\"",
                  binding_properties, &bindings[i]);
    }
    end_rows(all);
}

static void write_listeners(rows *all, const coney_picture_options *options)
{
    if (options->listener_count > 0)
        add_row(all, "LISTENER", "QUEUE", "CONSUMERS", "");
    for (size_t i = 0; i < options->listener_count; i++) {
        const coney_picture_listener *one = &options->listeners[i];
        char consumers[32] = "-";
        if (one->max_concurrency > one->concurrency)
            snprintf(consumers, sizeof consumers, "%d to %d", one->concurrency, one->max_concurrency);
        else if (one->concurrency > 0)
            snprintf(consumers, sizeof consumers, "%d", one->concurrency);
        add_row(all, one->id ? one->id : "-", one->queue ? one->queue : "-", consumers, "");
    }
    end_rows(all);
}

coney_status coney_topology_table(char **text, const coney_topology *topology, const coney_picture_options *options)
{
    static const coney_picture_options defaults;
    if (text)
        *text = NULL;
    if (!text || !topology)
        return cny_fail(CONEY_E_INVALID, "table: text or topology is NULL");
    if (topology->failure)
        return cny_error_raise(topology->failure);
    options = options ? options : &defaults;
    rows all = {0};
    if (options->title)
        cny_write(&all.to, "%s\n", options->title);
    write_exchanges(&all, topology);
    write_queues(&all, topology);
    write_bindings(&all, topology);
    write_listeners(&all, options);
    cny_arena_free(&all.arena);
    cny_buffer_free(&all.cells);
    return cny_writing_end(&all.to, text);
}
