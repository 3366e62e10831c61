/* SPDX-License-Identifier: MIT */
/* A plugin that uses Coney: a shared object that a host opens, uses and closes again. Built twice, with the shared
 * Coney beside it and with the static one in it. */
#include "plugin/plugin.h"

#include <stdio.h>

typedef struct client {
    coney_connection_factory *factory;
    coney_container *container;
    coney_template *sender;
} client;

__attribute__((visibility("default"))) plugin_function plugin_run;

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    const plugin_job *job = user;
    (void)delivery;
    job->on_handled();
    return CONEY_ACK;
}

static coney_status make_client(client *own, const plugin_job *job)
{
    const coney_tls_options tls = {.ca_file = job->ca_file};
    const coney_connection_factory_options factory_options = {.tls = job->ca_file ? &tls : NULL};
    const coney_container_options container_options = {.shutdown_timeout_ms = job->shutdown_timeout_ms};
    const coney_queue queue = {.name = job->queue, .exclusive = true};
    const coney_listener listener = {
        .declare = &queue,
        .on_message = job->on_message ? job->on_message : handle,
        .user = (void *)job,
        .acknowledge = CONEY_ACKNOWLEDGE_NONE, /* else the stop waits a moment after the acknowledgement */
    };
    coney_status status = coney_connection_factory_new(&own->factory, job->uri, &factory_options);
    if (status == CONEY_OK)
        status = coney_container_new(&own->container, own->factory, &container_options);
    if (status == CONEY_OK)
        status = coney_container_listen(own->container, &listener);
    if (status == CONEY_OK)
        status = coney_container_start(own->container);
    return status == CONEY_OK ? coney_template_new(&own->sender, own->factory, NULL) : status;
}

static coney_status send_message(const client *own, const plugin_job *job)
{
    coney_message *message;
    coney_status status = coney_message_new(&message, "hello", 5, NULL);
    if (status != CONEY_OK)
        return status;
    status = coney_template_send(own->sender, job->queue, message, NULL);
    coney_message_unref(message);
    return status;
}

const char *plugin_run(const plugin_job *job)
{
    static char trouble[1024];
    client own = {0};
    trouble[0] = '\0';
    coney_log_set_level(CONEY_LOG_OFF);
    if (make_client(&own, job) != CONEY_OK || send_message(&own, job) != CONEY_OK)
        snprintf(trouble, sizeof trouble, "%s", coney_last_error());
    else if (!job->wait_until_handled())
        snprintf(trouble, sizeof trouble, "the message was not handled");
    coney_template_free(own.sender);
    coney_container_free(own.container);
    coney_connection_factory_free(own.factory);
    return trouble[0] ? trouble : NULL;
}
