/* SPDX-License-Identifier: MIT */
/* Begins to connect: asks the program's provider for credentials, and makes a connection that the factory owns. The
 * recovery thread; the owner's functions run on any thread. It must not know when a connection is needed. */
#include "rabbit/factory/connecting.h"
#include "rabbit/factory/parts.h"

/* ---- credentials ---- */

coney_status cny_factory_ask_for_credentials(coney_connection_factory *factory, coney_credentials *credentials)
{
    const cny_connection_config *config = &factory->config;
    if (!config->credentials)
        return CONEY_OK;
    pthread_mutex_unlock(&factory->lock);
    coney_status status = config->credentials(credentials, config->credentials_user);
    pthread_mutex_lock(&factory->lock);
    return status == CONEY_OK
               ? status
               : cny_fail(status, "the credentials provider answered %s (%d)", coney_status_name(status), (int)status);
}

/* ---- the owner of a connection ---- */

static void ref_owner(void *self)
{
    cny_factory_ref(self);
}

static void unref_owner(void *self)
{
    cny_factory_unref(self);
}

static void wake_owner(void *self)
{
    cny_factory_wake(self);
}

static void blocked_changed(void *self, cny_connection *connection)
{
    coney_connection_factory *factory = self;
    cny_slot *slot = &factory->slots[cny_connection_role(connection)];
    char blocked[256];
    pthread_mutex_lock(&factory->lock);
    if (slot->connection == connection && !cny_factory_is_closed(factory)) {
        cny_connection_blocked(connection, blocked);
        cny_slot_count_blocked(slot, *blocked);
        cny_slot_changed(slot);
    }
    pthread_mutex_unlock(&factory->lock);
}

static bool may_send(void *self, const char *exchange, const char *routing_key)
{
    return cny_declarations_wait(self, exchange, routing_key, 0) == CONEY_OK;
}

static const cny_connection_owner owner = {
    .ref = ref_owner,
    .unref = unref_owner,
    .wake = wake_owner,
    .blocked_changed = blocked_changed,
    .may_send = may_send,
};

coney_status cny_factory_begin_to_connect(coney_connection_factory *factory, cny_connection **connection,
                                          cny_connection_parts parts, const coney_credentials *credentials)
{
    parts.owner = &owner;
    parts.self = factory;
    parts.config = &factory->config;
    parts.events = factory->events;
    parts.threads = &factory->threads;
    parts.stale_acknowledgements = &factory->stale_acknowledgements[parts.role];
    return cny_connection_new(connection, &parts, credentials);
}
