/* SPDX-License-Identifier: MIT */
#include "raw_connection.h"

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool raw_fail(const char *what, int status)
{
    fprintf(stderr, "raw: %s: %s\n", what, amqp_error_string2(status));
    return false;
}

bool raw_check_reply(amqp_connection_state_t state, const char *what)
{
    if (amqp_get_rpc_reply(state).reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    fprintf(stderr, "raw: %s was refused\n", what);
    return false;
}

/* By TLS to "localhost", because 0.11 compares no IP addresses. */
static amqp_socket_t *new_socket(amqp_connection_state_t state, const char *ca_file)
{
    if (!ca_file)
        return amqp_tcp_socket_new(state);
    amqp_socket_t *socket = amqp_ssl_socket_new(state);
    if (socket && amqp_ssl_socket_set_cacert(socket, ca_file) != AMQP_STATUS_OK)
        return NULL;
    return socket;
}

static bool connect_to(amqp_connection_state_t state, const char *uri, const char *ca_file, int tls_port)
{
    char *copy = strdup(uri); /* amqp_parse_url writes into it */
    struct amqp_connection_info info;
    amqp_default_connection_info(&info);
    size_t end = strlen(copy);
    if (end > 0 && copy[end - 1] == '/') /* it would mean the virtual host "" */
        copy[end - 1] = '\0';
    bool done = amqp_parse_url(copy, &info) == AMQP_STATUS_OK;
    amqp_socket_t *socket = done ? new_socket(state, ca_file) : NULL;
    int status = socket ? amqp_socket_open(socket, ca_file ? "localhost" : info.host, ca_file ? tls_port : info.port)
                        : AMQP_STATUS_BAD_URL;
    done = status == AMQP_STATUS_OK || raw_fail("connect", status);
    if (done)
        done = amqp_login(state, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, info.user,
                          info.password)
                   .reply_type == AMQP_RESPONSE_NORMAL;
    free(copy);
    return done;
}

amqp_connection_state_t raw_connect(const char *uri, const char *ca_file, int tls_port)
{
    amqp_connection_state_t state = amqp_new_connection();
    if (connect_to(state, uri, ca_file, tls_port))
        return state;
    fprintf(stderr, "raw: cannot log in\n");
    amqp_destroy_connection(state);
    return NULL;
}
