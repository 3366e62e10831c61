/* SPDX-License-Identifier: MIT */
/* What the factory tells the listeners and callbacks of the program, on its events thread. Any thread may call. */
#include "rabbit/factory/parts.h"
#include "wire/wire.h"

typedef struct connection_notice {
    cny_notice notice;
    coney_connection_listener *listener;
    void *user;
    coney_connection_info info;
} connection_notice;

static void run_connection_notice(cny_notice *notice)
{
    const connection_notice *one = (const connection_notice *)(const void *)notice;
    one->listener(&one->info, one->user);
}

void cny_tell_connection(coney_connection_factory *factory, const coney_connection_info *info)
{
    const cny_connection_config *config = &factory->config;
    connection_notice *one = config->on_connection ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    *one = (connection_notice){.notice = {.run = run_connection_notice},
                               .listener = config->on_connection,
                               .user = config->listener_user,
                               .info = *info};
    cny_events_tell(factory->events, &one->notice);
}

typedef struct declaration_notice {
    cny_notice notice;
    coney_declaration_listener *listener;
    void *user;
    coney_declaration declaration;
} declaration_notice;

static void run_declaration_notice(cny_notice *notice)
{
    const declaration_notice *one = (const declaration_notice *)(const void *)notice;
    one->listener(&one->declaration, one->user);
}

void cny_tell_declaration(coney_connection_factory *factory, const coney_declaration *declaration)
{
    const cny_connection_config *config = &factory->config;
    declaration_notice *one = config->on_declaration ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    *one = (declaration_notice){.notice = {.run = run_declaration_notice},
                                .listener = config->on_declaration,
                                .user = config->listener_user,
                                .declaration = *declaration};
    cny_events_tell(factory->events, &one->notice);
}

void cny_warn_of_transient_queue(const coney_queue *queue, int broker_version)
{
    if (queue->transient && !queue->exclusive && broker_version >= CNY_BROKER_VERSION(4, 3))
        cny_log(CONEY_LOG_WARN,
                "queue '%s' is transient and not exclusive; RabbitMQ refuses such queues from 4.3 on unless its "
                "configuration permits them, so make the queue durable or exclusive",
                queue->name);
}

cny_events *cny_factory_events(coney_connection_factory *factory)
{
    return factory->events;
}

bool cny_factory_post(coney_connection_factory *factory, coney_send_callback *callback, cny_error *error, void *user)
{
    const cny_completion completion = {.callback = callback, .user = user, .error = cny_error_ref(error)};
    cny_events_lock(factory->events);
    bool posted = cny_events_post(factory->events, &completion);
    cny_events_unlock(factory->events);
    if (!posted)
        cny_error_unref(error);
    return posted;
}
