/* SPDX-License-Identifier: MIT */
/* A topology as a picture for Graphviz. Nodes are numbered, so that no name is ever an identifier; names stand in quoted
 * labels only, where everything that has a meaning is escaped. Any thread. */
#include "topology/writing.h"

#include <coney/amqp/topology_picture.h>
#include <stdio.h>
#include <string.h>

/* ---- labels ---- */

/* Quotation marks and backslashes are escaped, so a name cannot end its label; control characters become spaces. */
static void write_escaped(cny_writing *to, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\')
            cny_write_text(to, "\\", 1);
        cny_write_text(to, byte < ' ' || byte == 0x7f ? " " : &text[i], 1);
    }
}

static void write_name(cny_writing *to, const char *name)
{
    write_escaped(to, *name ? name : "(empty)", *name ? strlen(name) : 7);
}

/* The text that `write` makes, escaped, after a line break. */
static void write_line(cny_writing *to, cny_writing *line)
{
    if (line->text.size > 0) {
        cny_write(to, "\\n");
        write_escaped(to, (const char *)line->text.data, line->text.size);
    }
    to->has_failed = to->has_failed || line->has_failed;
    cny_buffer_free(&line->text);
}

/* ---- where an edge ends ---- */

/* Things that the topology names and does not have get nodes of their own. */
typedef struct drawing {
    cny_writing to;
    const coney_topology *topology;
    coney_topology *others; /* external, and found by their names */
} drawing;

static size_t position_of_queue(const coney_topology *topology, const char *name)
{
    size_t count;
    const coney_queue *found = cny_topology_find_queue(topology, name);
    return found ? (size_t)(found - cny_topology_queues(topology, &count)) : SIZE_MAX;
}

static size_t position_of_exchange(const coney_topology *topology, const char *name)
{
    size_t count;
    const coney_exchange *found = cny_topology_find_exchange(topology, name);
    return found ? (size_t)(found - cny_topology_exchanges(topology, &count)) : SIZE_MAX;
}

static void note_others(drawing *one)
{
    size_t count;
    const coney_binding *bindings = cny_topology_bindings(one->topology, &count);
    for (size_t i = 0; i < count; i++) {
        const coney_binding *binding = &bindings[i];
        if (!cny_topology_find_exchange(one->topology, binding->exchange))
            coney_topology_add_exchange(one->others, &(coney_exchange){.name = binding->exchange, .external = true});
        if (binding->to_exchange && !cny_topology_find_exchange(one->topology, binding->destination))
            coney_topology_add_exchange(one->others, &(coney_exchange){.name = binding->destination, .external = true});
        if (!binding->to_exchange && !cny_topology_find_queue(one->topology, binding->destination))
            coney_topology_add_queue(one->others, &(coney_queue){.name = binding->destination, .external = true});
    }
}

static void note_exchange(drawing *one, const char *name)
{
    if (name && *name && !cny_topology_find_exchange(one->topology, name))
        coney_topology_add_exchange(one->others, &(coney_exchange){.name = name, .external = true});
}

static void note_queue(drawing *one, const char *name)
{
    if (name && *name && !cny_topology_find_queue(one->topology, name))
        coney_topology_add_queue(one->others, &(coney_queue){.name = name, .external = true});
}

static void note_paths(drawing *one, const coney_picture_options *options)
{
    size_t queues, exchanges;
    const coney_queue *all_queues = cny_topology_queues(one->topology, &queues);
    const coney_exchange *all_exchanges = cny_topology_exchanges(one->topology, &exchanges);
    for (size_t i = 0; i < queues; i++) {
        note_exchange(one, all_queues[i].dead_letter_exchange);
        if (all_queues[i].dead_letter_exchange && !*all_queues[i].dead_letter_exchange)
            note_queue(one, all_queues[i].dead_letter_routing_key);
    }
    for (size_t i = 0; i < exchanges; i++)
        note_exchange(one, all_exchanges[i].alternate_exchange);
    for (size_t i = 0; i < options->listener_count; i++)
        note_queue(one, options->listeners[i].queue);
}

static void write_queue_id(drawing *one, const char *name)
{
    size_t at = position_of_queue(one->topology, name);
    if (at != SIZE_MAX)
        cny_write(&one->to, "q%zu", at);
    else
        cny_write(&one->to, "oq%zu", position_of_queue(one->others, name));
}

static void write_exchange_id(drawing *one, const char *name)
{
    size_t at = position_of_exchange(one->topology, name);
    if (at != SIZE_MAX)
        cny_write(&one->to, "e%zu", at);
    else
        cny_write(&one->to, "oe%zu", position_of_exchange(one->others, name));
}

/* ---- nodes ---- */

static const char *fill_of_exchange(const coney_exchange *exchange)
{
    return exchange->external ? "#eeeeee" : exchange->internal ? "#f3e3c2" : "#fbe9c8";
}

static void write_exchange(drawing *one, const coney_exchange *exchange)
{
    cny_writing line = {0};
    cny_write(&one->to, "  ");
    write_exchange_id(one, exchange->name);
    cny_write(&one->to, " [shape=%s, fillcolor=\"%s\", color=\"%s\", label=\"",
              exchange->type == CONEY_FANOUT && !exchange->custom_type ? "trapezium" : "hexagon",
              fill_of_exchange(exchange), exchange->external ? "#999999" : "#b07a1c");
    write_name(&one->to, exchange->name);
    if (!exchange->external)
        cny_write_exchange_properties(&line, exchange, ", ");
    write_line(&one->to, &line);
    cny_write(&one->to, "\"];\n");
}

static const char *fill_of_queue(const coney_queue *queue)
{
    switch (cny_queue_kind(queue)) {
    case CONEY_QUORUM: return "#cfe3f5";
    case CONEY_STREAM: return "#d3efd6";
    case CONEY_CLASSIC:
    case CONEY_QUEUE_DEFAULT: break;
    }
    return "#e8eef4";
}

static void write_queue(drawing *one, const coney_queue *queue)
{
    cny_writing line = {0};
    const char *style = queue->exclusive ? "filled,dashed" : "filled";
    cny_write(&one->to, "  ");
    write_queue_id(one, queue->name);
    cny_write(&one->to, " [shape=%s, style=\"%s\", fillcolor=\"%s\", color=\"%s\", label=\"",
              cny_queue_kind(queue) == CONEY_STREAM ? "cds" : "box", style,
              queue->external ? "#eeeeee" : fill_of_queue(queue), queue->external ? "#999999" : "#33658a");
    write_name(&one->to, queue->name);
    if (!queue->external)
        cny_write_queue_properties(&line, queue, ", ");
    write_line(&one->to, &line);
    cny_write(&one->to, "\"];\n");
}

static void write_nodes(drawing *one, const coney_topology *topology)
{
    size_t exchanges, queues;
    const coney_exchange *all_exchanges = cny_topology_exchanges(topology, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(topology, &queues);
    for (size_t i = 0; i < exchanges; i++)
        write_exchange(one, &all_exchanges[i]);
    for (size_t i = 0; i < queues; i++)
        write_queue(one, &all_queues[i]);
}

/* ---- edges ---- */

static bool same_ends(const coney_binding *one, const coney_binding *other)
{
    return one->to_exchange == other->to_exchange && strcmp(one->exchange, other->exchange) == 0 &&
           strcmp(one->destination, other->destination) == 0;
}

/* Several bindings between the same two things are one edge with several lines. */
static void write_binding(drawing *one, const coney_binding *bindings, size_t count, size_t at)
{
    bool is_first = true;
    for (size_t i = 0; i < at; i++) {
        if (same_ends(&bindings[i], &bindings[at]))
            return;
    }
    cny_write(&one->to, "  ");
    write_exchange_id(one, bindings[at].exchange);
    cny_write(&one->to, " -> ");
    if (bindings[at].to_exchange)
        write_exchange_id(one, bindings[at].destination);
    else
        write_queue_id(one, bindings[at].destination);
    cny_write(&one->to, " [label=\"");
    for (size_t i = at; i < count; i++) {
        cny_writing line = {0};
        if (!same_ends(&bindings[i], &bindings[at]))
            continue;
        cny_write(&line, "%s%s", bindings[i].routing_key ? bindings[i].routing_key : "",
                  coney_table_size(bindings[i].arguments) > 0 && bindings[i].routing_key && *bindings[i].routing_key
                      ? " "
                      : "");
        cny_write_arguments(&line, bindings[i].arguments);
        if (!is_first || line.text.size == 0)
            cny_write(&one->to, is_first ? "" : "\\n");
        write_escaped(&one->to, (const char *)line.text.data, line.text.size);
        cny_buffer_free(&line.text);
        is_first = false;
    }
    cny_write(&one->to, "\"];\n");
}

/* Through the default exchange a dead letter goes to the queue of its routing key. */
static void write_dead_letters(drawing *one, const coney_queue *queue)
{
    const char *exchange = queue->dead_letter_exchange, *key = queue->dead_letter_routing_key;
    bool is_default = exchange && !*exchange;
    if (!exchange || (is_default && (!key || !*key)))
        return;
    cny_write(&one->to, "  ");
    write_queue_id(one, queue->name);
    cny_write(&one->to, " -> ");
    if (is_default)
        write_queue_id(one, key);
    else
        write_exchange_id(one, exchange);
    cny_write(&one->to, " [style=dashed, color=\"#b3443c\", fontcolor=\"#b3443c\", label=\"dead letters");
    if (!is_default && key && *key) {
        cny_write(&one->to, "\\n");
        write_name(&one->to, key);
    }
    cny_write(&one->to, "\"];\n");
}

static void write_edges(drawing *one)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(one->topology, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(one->topology, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(one->topology, &bindings);
    for (size_t i = 0; i < bindings; i++)
        write_binding(one, all_bindings, bindings, i);
    for (size_t i = 0; i < exchanges; i++) {
        const char *alternate = all_exchanges[i].alternate_exchange;
        if (!alternate || !*alternate)
            continue;
        cny_write(&one->to, "  e%zu -> ", i);
        write_exchange_id(one, alternate);
        cny_write(&one->to, " [style=dotted, label=\"alternate\"];\n");
    }
    for (size_t i = 0; i < queues; i++)
        write_dead_letters(one, &all_queues[i]);
}

static void write_listeners(drawing *one, const coney_picture_options *options)
{
    for (size_t i = 0; i < options->listener_count; i++) {
        const coney_picture_listener *listener = &options->listeners[i];
        if (!listener->queue || !*listener->queue)
            continue;
        cny_write(&one->to, "  l%zu [shape=oval, fillcolor=\"#ffffff\", color=\"#555555\", label=\"", i);
        write_name(&one->to, listener->id ? listener->id : "listener");
        if (listener->concurrency > 0)
            cny_write(&one->to,
                      listener->max_concurrency > listener->concurrency ? "\\n%d to %d consumers"
                      : listener->concurrency == 1                      ? "\\n%d consumer"
                                                                        : "\\n%d consumers",
                      listener->concurrency, listener->max_concurrency);
        cny_write(&one->to, "\"];\n  ");
        write_queue_id(one, listener->queue);
        cny_write(&one->to, " -> l%zu [arrowhead=vee, color=\"#555555\"];\n", i);
    }
}

/* ---- the whole ---- */

static void write_all(drawing *one, const coney_picture_options *options)
{
    cny_write(&one->to, "digraph topology {\n"
                        "  rankdir=LR;\n"
                        "  nodesep=0.3;\n"
                        "  ranksep=0.9;\n"
                        "  fontname=\"Helvetica\";\n"
                        "  node [fontname=\"Helvetica\", fontsize=11, style=filled, margin=\"0.15,0.08\"];\n"
                        "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#444444\"];\n");
    if (options->title) {
        cny_write(&one->to, "  labelloc=t;\n  label=\"");
        write_name(&one->to, options->title);
        cny_write(&one->to, "\";\n");
    }
    note_others(one);
    note_paths(one, options);
    write_nodes(one, one->topology);
    write_nodes(one, one->others);
    write_edges(one);
    write_listeners(one, options);
    cny_write(&one->to, "}\n");
}

coney_status coney_topology_dot(char **dot, const coney_topology *topology, const coney_picture_options *options)
{
    static const coney_picture_options defaults;
    if (dot)
        *dot = NULL;
    if (!dot || !topology)
        return cny_fail(CONEY_E_INVALID, "picture: dot or topology is NULL");
    if (topology->failure)
        return cny_error_raise(topology->failure);
    drawing one = {.topology = topology, .others = coney_topology_new()};
    if (!one.others)
        return cny_fail_memory();
    write_all(&one, options ? options : &defaults);
    one.to.has_failed = one.to.has_failed || one.others->failure;
    coney_topology_free(one.others);
    return cny_writing_end(&one.to, dot);
}
