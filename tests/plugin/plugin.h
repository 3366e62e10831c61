/* SPDX-License-Identifier: MIT */
/* What the plugin offers its host, which does not link Coney and finds the function with dlsym(). */
#ifndef CNY_TEST_PLUGIN_H
#define CNY_TEST_PLUGIN_H

#include <coney/coney.h>

/* All of it is the host's, and stays when the plugin is closed. */
typedef struct plugin_job {
    const char *uri;
    const char *ca_file;               /* NULL: plain TCP */
    const char *queue;                 /* of this connection only */
    coney_message_handler *on_message; /* NULL: the plugin's own, which calls the next one */
    void (*on_handled)(void);          /* may block */
    bool (*wait_until_handled)(void);  /* false: it has not come */
    int shutdown_timeout_ms;           /* of the container; 0: the default */
} plugin_job;

/* Connects, listens, sends a message, waits until it is handled, and frees everything. NULL, or what went wrong: a view
 * until the plugin is closed. */
typedef const char *plugin_function(const plugin_job *job);

#define PLUGIN_FUNCTION "plugin_run"

#endif
