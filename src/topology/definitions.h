/* SPDX-License-Identifier: MIT */
/* RabbitMQ's definitions: what `rabbitmqctl export_definitions` and the management API write. */
#ifndef CNY_TOPOLOGY_DEFINITIONS_H
#define CNY_TOPOLOGY_DEFINITIONS_H

#include "topology/document.h"

/* Adds the things of one virtual host, whose name may be NULL: of all. The places are those of the lists in the text;
 * NULL: there is no such list. CONEY_E_INVALID. */
coney_status cny_definitions_read(coney_topology *topology, cny_document *document, const char *vhost,
                                  const char *exchanges, const char *queues, const char *bindings);

#endif
