/* SPDX-License-Identifier: MIT */
/* A program of somebody else, who has only what `cmake --install` left. */
#include <coney/coney.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    coney_connection_factory *factory = NULL;
    coney_topology *topology = coney_topology_new();
    coney_status status = coney_connection_factory_new(&factory, "amqp://localhost", NULL);
    if (status != CONEY_OK)
        fprintf(stderr, "%s: %s\n", coney_status_name(status), coney_last_error());
    coney_connection_factory_free(factory);
    coney_topology_free(topology);
    puts(coney_version());
    bool same_version = strcmp(coney_version(), CONEY_VERSION) == 0 && coney_version_number() == CONEY_VERSION_NUMBER;
    return status == CONEY_OK && topology != NULL && same_version ? 0 : 1;
}
