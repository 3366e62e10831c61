/* SPDX-License-Identifier: MIT */
/* GET requests by libcurl, whose answers are JSON, and what is said of those that fail. On the caller's thread. It must
 * not know what is asked for. */
#include "http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_TIMEOUT_MS 30000
#define DEFAULT_MAX_ANSWER ((size_t)256 * 1024 * 1024)

struct cny_http {
    CURL *curl;
    char *base;  /* the URL without a slash at its end */
    char *vhost; /* escaped, by curl */
    const char *plain_vhost;
    const char *user;
    size_t max_answer;
    char reason[CURL_ERROR_SIZE];
};

typedef struct answer {
    char *text;
    size_t size;
    size_t most;
    bool is_too_large;
} answer;

/* ---- life ---- */

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static coney_status check_options(const coney_management_options *options)
{
    const char *url = options->url;
    size_t scheme = !url ? 0 : strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0)
        return coney_fail(CONEY_E_INVALID, "management: url must begin with http:// or https://, such as "
                                           "\"http://localhost:15672\"");
    if (strchr(url + scheme, '@'))
        return coney_fail(CONEY_E_INVALID, "management: url has an '@'; give user and password by their own options");
    size_t host = strcspn(url + scheme, "/?#");
    if (host == 0 || (url[scheme + host] && strcmp(url + scheme + host, "/") != 0))
        return coney_fail(CONEY_E_INVALID, "management: url is '%.200s'; give scheme, host and port only", url);
    if (options->timeout_ms < 0)
        return coney_fail(CONEY_E_INVALID, "management: timeout_ms is %d, which is below 0", options->timeout_ms);
    if (options->user && !options->password)
        return coney_fail(CONEY_E_INVALID, "management: user is '%.200s', and password is NULL; give both",
                          options->user);
    return CONEY_OK;
}

static size_t take_bytes(char *bytes, size_t size, size_t count, void *user)
{
    answer *to = user;
    size_t more = size * count;
    if (more > to->most - to->size) {
        to->is_too_large = true;
        return 0;
    }
    char *larger = realloc(to->text, to->size + more + 1);
    if (!larger)
        return 0;
    to->text = larger;
    memcpy(to->text + to->size, bytes, more);
    to->size += more;
    return more;
}

static void set_up(cny_http *http, const coney_management_options *options)
{
    CURL *curl = http->curl;
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->reason);
    curl_easy_setopt(curl, CURLOPT_USERNAME, http->user);
    curl_easy_setopt(curl, CURLOPT_PASSWORD, options->password ? options->password : "guest");
    curl_easy_setopt(curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_bytes);
    if (options->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, options->ca_file);
}

coney_status cny_http_new(cny_http **http, const coney_management_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *http = NULL;
    coney_status status = check_options(options);
    if (status != CONEY_OK)
        return status;
    pthread_once(&once, init_curl);
    cny_http *made = calloc(1, sizeof *made);
    if (made) {
        made->curl = curl_easy_init();
        made->base = strdup(options->url);
        made->plain_vhost = options->virtual_host ? options->virtual_host : "/";
        made->vhost = made->curl ? curl_easy_escape(made->curl, made->plain_vhost, 0) : NULL;
    }
    if (!made || !made->base || !made->vhost) {
        cny_http_free(made);
        return coney_fail(CONEY_E_NO_MEMORY, "management: out of memory");
    }
    size_t size = strlen(made->base);
    if (made->base[size - 1] == '/')
        made->base[size - 1] = '\0';
    made->user = options->user ? options->user : "guest";
    made->max_answer = options->max_answer_bytes ? options->max_answer_bytes : DEFAULT_MAX_ANSWER;
    set_up(made, options);
    *http = made;
    return CONEY_OK;
}

void cny_http_free(cny_http *http)
{
    if (!http)
        return;
    curl_free(http->vhost);
    curl_easy_cleanup(http->curl);
    free(http->base);
    free(http);
}

/* ---- failures ---- */

static coney_status fail_transfer(const cny_http *http, const char *url, CURLcode code, const answer *got)
{
    const char *reason = *http->reason ? http->reason : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return coney_fail(CONEY_E_TIMEOUT, "management: GET %s: %s", url, reason);
    case CURLE_OUT_OF_MEMORY: return coney_fail(CONEY_E_NO_MEMORY, "management: out of memory");
    case CURLE_WRITE_ERROR:
        return got->is_too_large
                   ? coney_fail(CONEY_E_LIMIT, "management: GET %s: the answer is larger than max_answer_bytes, %zu",
                                url, got->most)
                   : coney_fail(CONEY_E_NO_MEMORY, "management: out of memory");
    case CURLE_COULDNT_CONNECT:
        return coney_fail(CONEY_E_CONNECT,
                          "management: GET %s: %s; is the plugin rabbitmq_management enabled there, and is the port "
                          "right (usually 15672)?",
                          url, reason);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_GOT_NOTHING:
        return coney_fail(CONEY_E_PROTOCOL, "management: GET %s: %s; that is no management API", url, reason);
    default: return coney_fail(CONEY_E_CONNECT, "management: GET %s: %s", url, reason);
    }
}

static coney_status fail_status(const cny_http *http, const char *url, long code)
{
    switch (code) {
    case 401:
        return coney_fail(CONEY_E_ACCESS_REFUSED,
                          "management: GET %s: 401: user '%s' and the password are not accepted, or the user has no "
                          "tag; give the user the tag \"management\"",
                          url, http->user);
    case 403:
        return coney_fail(CONEY_E_ACCESS_REFUSED, "management: GET %s: 403: user '%s' may not see virtual host '%s'",
                          url, http->user, http->plain_vhost);
    case 404:
        return coney_fail(CONEY_E_NOT_FOUND,
                          "management: GET %s: 404: there is no virtual host '%s', or this is not RabbitMQ", url,
                          http->plain_vhost);
    default: return coney_fail(CONEY_E_PROTOCOL, "management: GET %s: the answer has status %ld", url, code);
    }
}

/* ---- requests ---- */

static char *make_url(const cny_http *http, const char *what, bool of_host, const char *query)
{
    size_t size = strlen(http->base) + strlen(http->vhost) + strlen(what) + strlen(query) + 32;
    char *url = malloc(size);
    if (url && of_host)
        snprintf(url, size, "%s/api/vhosts/%s/%s?%s", http->base, http->vhost, what, query);
    else if (url)
        snprintf(url, size, "%s/api/%s/%s?%s", http->base, what, http->vhost, query);
    return url;
}

static coney_status parse(json_t **json, const answer *got, const char *url)
{
    json_error_t error;
    *json = json_loadb(got->text ? got->text : "", got->size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (json_is_array(*json))
        return CONEY_OK;
    coney_status status =
        coney_fail(CONEY_E_PROTOCOL, "management: GET %s: the answer is not a JSON array (%s); is that RabbitMQ?", url,
                   *json ? "another type" : error.text);
    json_decref(*json);
    *json = NULL;
    return status;
}

coney_status cny_http_get(cny_http *http, json_t **json, const char *what, bool of_host, const char *query)
{
    answer got = {.most = http->max_answer};
    long code = 0;
    *json = NULL;
    char *url = make_url(http, what, of_host, query);
    if (!url)
        return coney_fail(CONEY_E_NO_MEMORY, "management: out of memory");
    *http->reason = '\0';
    curl_easy_setopt(http->curl, CURLOPT_URL, url);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, &got);
    CURLcode sent = curl_easy_perform(http->curl);
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &code);
    url[strcspn(url, "?")] = '\0'; /* for sentences */
    coney_status status = sent != CURLE_OK ? fail_transfer(http, url, sent, &got)
                          : code != 200    ? fail_status(http, url, code)
                                           : parse(json, &got, url);
    free(got.text);
    free(url);
    return status;
}
