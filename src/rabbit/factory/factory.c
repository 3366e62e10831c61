/* SPDX-License-Identifier: MIT */
/* Makes a factory. The program's thread. What makes connections is in recovery.c, the end of a factory in close.c. */
#include "rabbit/factory/parts.h"
#include "rabbit/factory/recovery.h"

coney_status coney_connection_factory_new(coney_connection_factory **factory, const char *uri,
                                          const coney_connection_factory_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_connection_factory_options defaults;
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    *factory = NULL;
    coney_connection_factory *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    made->fork_count = cny_fork_count();
    made->recover = cny_recovery_main;
    pthread_sigmask(SIG_SETMASK, NULL, &made->signals);
    cny_threads_init(&made->threads);
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->routes.lock, NULL);
    cny_cond_init(&made->changed);
    for (int role = 0; role < CNY_ROLE_COUNT; role++)
        made->slots[role] = (cny_slot){
            .factory = made, .role = (coney_connection_role)role, .refresh_at = INT64_MAX, .lost_host = CNY_NO_HOST};
    coney_status status = cny_config_read(&made->config, uri, options ? options : &defaults);
    if (status == CONEY_OK)
        status = cny_events_start(&made->events, &made->threads, made, &made->signals);
    if (status != CONEY_OK) {
        cny_factory_unref(made);
        return status;
    }
    *factory = made;
    return CONEY_OK;
}
