/* SPDX-License-Identifier: MIT */
/* The input is the URI of a connection factory. What is accepted has all its parts, and a refusal never tells the
 * password. */
#include "support/fuzz.h"

#include "rabbit/connection/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD "hunter2"
#define WITH_PASSWORD "amqp://orders:" PASSWORD "@"

static void check_text(const char *text)
{
    fuzz_require(text && strlen(text) <= CNY_MAX_SHORT_STRING && cny_utf8_error(text, strlen(text)) < 0);
}

static void check_uri(const cny_uri *uri)
{
    fuzz_require(uri->host_count > 0);
    for (size_t i = 0; i < uri->host_count; i++) {
        check_text(uri->hosts[i].name);
        fuzz_require(*uri->hosts[i].name && uri->hosts[i].port > 0 && uri->hosts[i].port <= UINT16_MAX);
    }
    check_text(uri->user);
    fuzz_require(uri->password && cny_utf8_error(uri->password, strlen(uri->password)) < 0);
    check_text(uri->vhost);
    fuzz_require(uri->heartbeat_s >= -1 && uri->connection_timeout_ms >= -1 && uri->frame_max >= -1);
}

static void read_uri(const char *text)
{
    cny_arena arena = {0};
    cny_uri uri;
    coney_status status = cny_uri_parse(&uri, &arena, text);
    fuzz_require(status == CONEY_OK || status == CONEY_E_INVALID || status == CONEY_E_NO_MEMORY);
    if (status == CONEY_OK)
        check_uri(&uri);
    cny_arena_free(&arena);
}

static coney_status read_config(const char *text)
{
    cny_connection_config config = {0};
    coney_status status = cny_config_read(&config, text, &(coney_connection_factory_options){0});
    fuzz_require(status == CONEY_OK || status == CONEY_E_INVALID || status == CONEY_E_NO_MEMORY);
    cny_config_free(&config);
    return status;
}

/* The input comes after a password, which it does not contain itself. */
static void read_after_password(const char *text)
{
    size_t room = sizeof WITH_PASSWORD + strlen(text);
    char *uri = malloc(room);
    if (!uri)
        abort();
    snprintf(uri, room, "%s%s", WITH_PASSWORD, text);
    fuzz_require(read_config(uri) == CONEY_OK || strstr(text, PASSWORD) || !strstr(coney_last_error(), PASSWORD));
    free(uri);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    read_uri(text);
    read_config(text);
    read_after_password(text);
    free(text);
}
