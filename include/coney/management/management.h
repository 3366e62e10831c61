/* SPDX-License-Identifier: MIT */
/* Reads what a broker has over RabbitMQ's management API, for coney_admin_plan(). AMQP itself does not tell arguments,
 * bindings and policies.
 *
 * This is a library of its own, coney_management, because it needs libcurl: a program that does not read inventories
 * need not have that. Link with coney::coney_management or pkg-config coney_management. The broker's plugin
 * rabbitmq_management must be enabled, and the user needs its tag "management". */
#ifndef CONEY_MANAGEMENT_MANAGEMENT_H
#define CONEY_MANAGEMENT_MANAGEMENT_H

#include <coney/amqp/inventory.h>

#include <stddef.h>

CONEY_BEGIN

/* Zero means the default. */
typedef struct coney_management_options {
    const char *url;          /* Required, such as "https://broker.example:15671". Neither user nor path is in it. */
    const char *user;         /* Default: "guest". */
    const char *password;     /* Default: "guest" if `user` is left out, too. */
    const char *virtual_host; /* Default: "/". */
    const char *ca_file;      /* Of https, PEM. Default: the system's. The certificate is always verified. */
    int timeout_ms;           /* For each of the five to seven requests. Default: 30,000. */
    size_t max_answer_bytes;  /* Of one answer. Default: 256 MiB. */
} coney_management_options;

/* Reads the queues, exchanges, bindings, consumers and policies of a virtual host into a new inventory, which the
 * caller frees. Changes nothing at the broker. The numbers of messages and consumers of a new queue are known some
 * seconds later. Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: an argument or option.
 * - CONEY_E_CONNECT: nobody listens there, the name is unknown, or TLS has failed.
 * - CONEY_E_TIMEOUT.
 * - CONEY_E_ACCESS_REFUSED: user, password or the user's tag (401, 403).
 * - CONEY_E_NOT_FOUND: no such virtual host (404).
 * - CONEY_E_LIMIT: an answer is larger than max_answer_bytes.
 * - CONEY_E_PROTOCOL: something else answers there, or another status of HTTP. */
CONEY_API coney_status coney_management_read(coney_inventory **inventory, const coney_management_options *options);

CONEY_END

#endif
