/* SPDX-License-Identifier: MIT */
/* A service, warehouse or notify, that payment needs: it answers requests, and handles events.
 *
 *   rpc-service NAME SLOW_MS URI
 *
 * SLOW_MS is how long it takes for each request or event. It runs until it is killed. */
#include "names.h"

#include <coney/coney.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct service {
    const char *name;
    int slow_ms;
    coney_template *sender;
} service;

static void work(const service *self)
{
    if (self->slow_ms > 0)
        usleep((useconds_t)self->slow_ms * 1000);
}

/* The caller waits for this. Requests whose caller has given up do not come here. */
static coney_outcome answer(coney_delivery *delivery, void *user)
{
    work(user);
    return coney_delivery_set_reply_text(delivery, "done") == CONEY_OK ? CONEY_ACK : CONEY_RETRY;
}

/* Nobody waits for this. The event is acknowledged after the broker has the next event, so none is lost; if the service
 * is killed in between, the event comes again and is handled twice. */
static coney_outcome handle(coney_delivery *delivery, void *user)
{
    const service *self = user;
    const coney_message *event = coney_delivery_message(delivery);
    coney_message *next = NULL;
    char body[96];
    work(self);
    int size = snprintf(body, sizeof body, "%s %.*s", self->name, (int)coney_message_size(event),
                        (const char *)coney_message_body(event));
    bool sent = (size_t)size < sizeof body && coney_message_new(&next, body, (size_t)size, NULL) == CONEY_OK &&
                coney_template_send(self->sender, DONE, next, NULL) == CONEY_OK;
    coney_message_unref(next);
    return sent ? CONEY_ACK : CONEY_RETRY;
}

int main(int count, char **arguments)
{
    if (count != 4) {
        fprintf(stderr, "usage: %s NAME SLOW_MS URI\n", arguments[0]);
        return 2;
    }
    service self = {.name = arguments[1], .slow_ms = atoi(arguments[2])};
    coney_connection_factory *factory;
    coney_container *container;
    char requests[64], events[64];
    snprintf(requests, sizeof requests, REQUESTS, self.name);
    snprintf(events, sizeof events, EVENTS, self.name);
    const coney_listener asked = {.queue = requests, .on_message = answer, .user = &self};
    const coney_listener told = {.queue = events, .on_message = handle, .user = &self};
    if (coney_connection_factory_new(&factory, arguments[3], NULL) != CONEY_OK ||
        coney_template_new(&self.sender, factory, NULL) != CONEY_OK ||
        coney_container_new(&container, factory, NULL) != CONEY_OK ||
        coney_container_listen(container, &asked) != CONEY_OK || coney_container_listen(container, &told) != CONEY_OK ||
        coney_container_start(container) != CONEY_OK) {
        fprintf(stderr, "%s: %s\n", self.name, coney_last_error());
        return 1;
    }
    for (;;)
        pause();
}
