/* SPDX-License-Identifier: MIT */
/* GET requests to the management API, whose answers are JSON. */
#ifndef CNY_MANAGEMENT_HTTP_H
#define CNY_MANAGEMENT_HTTP_H

#include <coney/management/management.h>
#include <jansson.h>

typedef struct cny_http cny_http;

/* Checks the options, and makes what all requests share. */
coney_status cny_http_new(cny_http **http, const coney_management_options *options);
void cny_http_free(cny_http *http);

/* Gets /api/WHAT/VHOST?QUERY, or /api/vhosts/VHOST/WHAT with of_host set. Gives the answer, which is an array. */
coney_status cny_http_get(cny_http *http, json_t **json, const char *what, bool of_host, const char *query);

#endif
