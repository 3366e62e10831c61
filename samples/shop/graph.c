/* SPDX-License-Identifier: MIT */
/* Prints the shop as a picture for Graphviz: ./shop-graph | dot -Tsvg >shop.svg, or, with the argument "table", as a
 * table. Needs no broker. */
#include "shop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const coney_picture_listener listeners[] = {
    {.id = "orders", .queue = "shop.orders", .concurrency = 1},
    {.id = "warehouse", .queue = "shop.warehouse", .concurrency = 1},
    {.id = "notify", .queue = "shop.notify", .concurrency = 4},
};
enum { LISTENERS = sizeof listeners / sizeof *listeners };

int main(int argc, char **argv)
{
    const coney_picture_options options = {.title = "The shop", .listeners = listeners, .listener_count = LISTENERS};
    coney_topology *topology = coney_topology_new();
    char *text = NULL;
    for (int i = 0; i < LISTENERS; i++)
        shop_add_queue(topology, listeners[i].queue);
    coney_status status = argc > 1 && strcmp(argv[1], "table") == 0 ? coney_topology_table(&text, topology, &options)
                                                                    : coney_topology_dot(&text, topology, &options);
    if (status == CONEY_OK)
        fputs(text, stdout);
    else
        fprintf(stderr, "graph: %s\n", coney_last_error());
    coney_text_free(text);
    coney_topology_free(topology);
    return status == CONEY_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
