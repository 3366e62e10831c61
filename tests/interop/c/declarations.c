/* SPDX-License-Identifier: MIT */
/* Things that both sides declare, in either order: Declarations.java has the same list. Test thread only. */
#include "interop.h"

#include <stdio.h>

enum { EXPIRES_MS = 600000 };

/* Of all names. */
static const char *prefix;

static const char *named(const char *name)
{
    static char names[10][256];
    static int next;
    char *text = names[next++ % 10];
    snprintf(text, sizeof names[0], "%s%s", prefix, name);
    return text;
}

static void add_exchanges(coney_topology *topology)
{
    const coney_exchange exchanges[] = {
        {.name = named("direct")},
        {.name = named("topic"), .type = CONEY_TOPIC, .alternate_exchange = named("fanout")},
        {.name = named("fanout"), .type = CONEY_FANOUT},
        {.name = named("headers"), .type = CONEY_HEADERS, .internal = true},
        {.name = named("brief"), .auto_delete = true, .transient = true},
    };
    for (size_t i = 0; i < COUNT_OF(exchanges); i++)
        assert_ok(coney_topology_add_exchange(topology, &exchanges[i]));
}

static void add_queue(coney_topology *topology, const char *name, coney_queue queue)
{
    queue.name = named(name);
    queue.expires_ms = queue.kind == CONEY_STREAM ? 0 : EXPIRES_MS;
    assert_ok(coney_topology_add_queue(topology, &queue));
}

static void add_queues(coney_topology *topology)
{
    coney_table *located = coney_table_new(), *others = coney_table_new();
    assert_ok(coney_table_set_string(located, "x-queue-leader-locator", "client-local"));
    const coney_value five = {.type = CONEY_INT32, .as.integer = 5};
    assert_ok(coney_table_set(others, "x-max-age-of-ours", &five));
    assert_ok(coney_table_set_bool(others, "x-flag", true));
    assert_ok(coney_table_set_string(others, "x-text", "text"));
    add_queue(topology, "plain", (coney_queue){0});
    add_queue(topology, "auto-delete", (coney_queue){.auto_delete = true});
    add_queue(topology, "ttl", (coney_queue){.message_ttl_ms = 60000});
    add_queue(topology, "limited",
              (coney_queue){.max_length = 1000, .max_length_bytes = 1000000, .overflow = CONEY_DROP_HEAD});
    add_queue(topology, "refusing", (coney_queue){.max_length = 1000, .overflow = CONEY_REJECT_PUBLISH});
    add_queue(topology, "dead",
              (coney_queue){.dead_letter_exchange = named("direct"), .dead_letter_routing_key = "dead"});
    add_queue(topology, "priorities", (coney_queue){.max_priority = 10});
    add_queue(topology, "single", (coney_queue){.single_active_consumer = true});
    add_queue(topology, "quorum", (coney_queue){.kind = CONEY_QUORUM, .delivery_limit = 5});
    add_queue(
        topology, "quorum-dead",
        (coney_queue){.kind = CONEY_QUORUM, .dead_letter_exchange = "", .dead_letter_routing_key = named("plain")});
    add_queue(topology, "located", (coney_queue){.kind = CONEY_QUORUM, .arguments = located});
    add_queue(topology, "stream", (coney_queue){.kind = CONEY_STREAM, .max_length_bytes = 1000000});
    add_queue(topology, "arguments", (coney_queue){.arguments = others});
    coney_table_free(located);
    coney_table_free(others);
}

static void add_bindings(coney_topology *topology)
{
    coney_table *match = coney_table_new();
    const coney_value three = {.type = CONEY_INT32, .as.integer = 3};
    assert_ok(coney_table_set_string(match, "x-match", "all"));
    assert_ok(coney_table_set_string(match, "colour", "red"));
    assert_ok(coney_table_set(match, "size", &three));
    assert_ok(coney_topology_bind(topology, named("topic"), named("plain"), "orders.#"));
    assert_ok(coney_topology_bind(topology, named("fanout"), named("plain"), ""));
    const coney_binding to_queue = {.exchange = named("headers"), .destination = named("plain"), .arguments = match};
    assert_ok(coney_topology_add_binding(topology, &to_queue));
    const coney_binding to_exchange = {
        .exchange = named("topic"), .destination = named("fanout"), .to_exchange = true, .routing_key = "a.*"};
    assert_ok(coney_topology_add_binding(topology, &to_exchange));
    coney_table_free(match);
}

void interop_declare(const char *with_prefix)
{
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    prefix = with_prefix;
    add_exchanges(topology);
    add_queues(topology);
    add_bindings(topology);
    assert_ok(
        coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology, .no_auto_declare = true}));
    assert_ok(coney_admin_declare(admin));
    coney_admin_free(admin);
    coney_topology_free(topology);
}
