/* SPDX-License-Identifier: MIT */
/* A topology as a JSON file, and what RabbitMQ exports. docs/topology-file.md tells the format, which
 * docs/topology.schema.json describes for editors and other tools.
 *
 * A program may load a topology when it starts, add to it in code, and hand it to an admin:
 *
 *     coney_topology *topology;
 *     if (coney_topology_load(&topology, "topology.json", NULL) == CONEY_OK &&
 *         coney_topology_bind(topology, "events", "orders", "order.#") == CONEY_OK)
 *         status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
 *
 * What a file says is checked as by the functions that add. A wrong file is refused as a whole, and the sentence names
 * file, line and place: "topology.json:12: queues[3].message_ttl_ms: expected an integer, got "1s"". */
#ifndef CONEY_AMQP_TOPOLOGY_FILE_H
#define CONEY_AMQP_TOPOLOGY_FILE_H

#include <coney/amqp/topology.h>

CONEY_BEGIN

/* Zero means the default. */
typedef struct coney_topology_file_options {
    /* Which virtual host of RabbitMQ's definitions is read, if they are of a whole broker. Default: the only one that
     * they have, else "/". A file of Coney's own format, and definitions of one virtual host, name none, and the option
     * does not matter. */
    const char *vhost;
} coney_topology_file_options;

/* Reads a file, and gives the topology: free it with coney_topology_free(). options may be NULL.
 *
 * The file may have Coney's own format, or be what `rabbitmqctl export_definitions` or the management API (GET
 * /api/definitions, and that of a virtual host) have written. Of definitions:
 * - An argument becomes the field of coney_queue or coney_exchange that sends the same argument, such as x-message-ttl
 *   message_ttl_ms, so that code may add the same queue. All arguments of a thing stay `arguments` if Coney refuses the
 *   fields, because a broker accepts more than Coney does. What is sent is the same in both cases.
 * - The type "classic" of a queue without an argument x-queue-type is not taken over, because RabbitMQ names it for
 *   each queue, and the argument would be a difference.
 * - Exchanges whose names begin with "amq." and the default exchange are left out, because each broker has them; so are
 *   bindings to the default exchange. A queue whose name begins with "amq.", a name that the broker has made up, is
 *   external, because no client can declare it.
 * - Users, permissions, policies, parameters, and members that a future release writes, are left out.
 * - RabbitMQ exports no internal exchanges, but exports bindings of them. Add such exchanges in code.
 *
 * One thread at a time may use the topology. Limits of the text are those of coney_json_set_limits() and 64 MiB; an
 * object of arguments has at most 1,000 entries in all.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: path is NULL; the text is not JSON, is over a limit, or says what is not possible: the sentence
 *   tells the line and the place; or there is no such virtual host, and the sentence names those that there are.
 * - CONEY_E_SYSTEM: the file cannot be read; or the system gives no random bytes for the name of an anonymous queue. */
CONEY_API coney_status coney_topology_load(coney_topology **topology, const char *path,
                                           const coney_topology_file_options *options);

/* Reads a text of this size in the same way. The text is borrowed. The sentences begin with "line 12: ". Statuses are
 * those of coney_topology_load(), without those of files. */
CONEY_API coney_status coney_topology_parse(coney_topology **topology, const char *json, size_t size,
                                            const coney_topology_file_options *options);

/* Writes the topology to a file in Coney's own format. The file is complete or as it was before: the text goes to a new
 * file beside it, which is brought to the disk and then takes its name. It keeps the permissions of the old file. If
 * path is a symbolic link, the file is written to which it leads.
 *
 * A topology that is read from the file declares the same things, but each anonymous queue has a new name, and numbers
 * in free arguments are read as coney_table_from_json() says.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: an argument is NULL; an object of arguments has over 1,000 entries; or the topology has failed
 *   before, with the sentence of that failure.
 * - CONEY_E_CONVERSION: the name of an argument is not UTF-8.
 * - CONEY_E_SYSTEM: the file cannot be written. */
CONEY_API coney_status coney_topology_save(const coney_topology *topology, const char *path);

/* Gives the same as a text, with a NUL at its end: free it with coney_text_free(). Statuses are those of
 * coney_topology_save(), without those of files. */
CONEY_API coney_status coney_topology_to_json(char **json, const coney_topology *topology);

/* The name that was made up for the anonymous queue which the file names by "ref". A view, as long as the topology
 * lives. NULL: there is no such queue. If topologies are put together by coney_topology_add_all(), and two queues have
 * the same ref, the ref is that of the first one. */
CONEY_API const char *coney_topology_name_of_ref(const coney_topology *topology, const char *ref);

CONEY_END

#endif
