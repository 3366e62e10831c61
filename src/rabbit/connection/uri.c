/* SPDX-License-Identifier: MIT */
/* amqp://user:password@host:port,host:port/vhost?heartbeat=S&connection_timeout=MS&frame_max=N,
 * or amqps:// for TLS.
 *
 * Our own parser: rabbitmq-c's cuts a password at %00, knows one host and no options. Errors
 * name the part and its value, except within user and password, where only the part is named. */
#include "rabbit/connection/uri.h"

#include "amqp/amqp.h"

#include <string.h>
#include <strings.h>

#define DEFAULT_PORT 5672
#define DEFAULT_TLS_PORT 5671

/* A piece of the text that is being parsed. */
struct span {
    const char *data;
    size_t size;
};

static struct span span_of(const char *from, const char *to)
{
    return (struct span){.data = from, .size = (size_t)(to - from)};
}

static const char *find(struct span span, char c)
{
    return span.size > 0 ? memchr(span.data, c, span.size) : NULL;
}

/* Cuts the span at the first c: what stands before it is returned, the rest stays. Without a c
 * the whole span is returned and nothing stays. */
static struct span cut(struct span *rest, char c)
{
    const char *end = rest->data + rest->size;
    const char *at = find(*rest, c);
    struct span first = span_of(rest->data, at ? at : end);
    *rest = at ? span_of(at + 1, end) : span_of(end, end);
    return first;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Replaces %XX; strictly: two hex digits, no NUL, and the whole must be UTF-8 of 255 bytes. */
static coney_status decode_into(char *out, const char *part, struct span span)
{
    size_t size = 0;
    for (size_t i = 0; i < span.size; i++) {
        char c = span.data[i];
        if (c == '%') {
            int high = i + 2 < span.size ? hex_digit(span.data[i + 1]) : -1;
            int low = i + 2 < span.size ? hex_digit(span.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return cny_fail(CONEY_E_INVALID,
                                "URI: the %s has a %% that is not followed by two hex digits; "
                                "write %%25 for a %% sign",
                                part);
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '\0')
            return cny_fail(CONEY_E_INVALID, "URI: the %s holds a NUL byte", part);
        out[size++] = c;
    }
    out[size] = '\0';
    if (size > CNY_MAX_SHORT_STRING)
        return cny_fail(CONEY_E_INVALID, "URI: the %s has %zu bytes; 255 are allowed", part, size);
    if (cny_utf8_error(out, size) >= 0)
        return cny_fail(CONEY_E_INVALID, "URI: the %s is not UTF-8", part);
    return CONEY_OK;
}

static coney_status decode(cny_arena *arena, const char *part, struct span span, const char **text)
{
    char *out = cny_arena_alloc(arena, span.size + 1);
    if (!out)
        return cny_fail_memory();
    coney_status status = decode_into(out, part, span);
    if (status == CONEY_OK)
        *text = out;
    else
        explicit_bzero(out, span.size + 1); /* half a password perhaps */
    return status;
}

static bool read_number(struct span span, int64_t lowest, int64_t highest, int64_t *number)
{
    *number = 0;
    bool digits = span.size > 0 && span.size <= 10;
    for (size_t i = 0; digits && i < span.size; i++) {
        digits = span.data[i] >= '0' && span.data[i] <= '9';
        *number = *number * 10 + (span.data[i] - '0');
    }
    return digits && *number >= lowest && *number <= highest;
}

static coney_status parse_credentials(cny_uri *uri, cny_arena *arena, struct span span)
{
    bool has_password = find(span, ':');
    struct span user = cut(&span, ':');
    coney_status status = decode(arena, "user name", user, &uri->user);
    if (status == CONEY_OK && has_password)
        status = decode(arena, "password", span, &uri->password);
    if (status == CONEY_OK && !has_password)
        status = cny_fail(CONEY_E_INVALID, "URI: there is a user name but no password; write user:password@host");
    return status;
}

/* host, host:port, [v6] or [v6]:port */
static coney_status parse_host(cny_host *host, cny_arena *arena, struct span span, int default_port)
{
    struct span name = span;
    struct span port = {.data = NULL};
    const char *end = span.data + span.size;
    if (span.size > 0 && span.data[0] == '[') {
        const char *close = find(span, ']');
        if (!close || (close + 1 < end && close[1] != ':'))
            return cny_fail(CONEY_E_INVALID, "URI: the host '%.*s' begins with [ but is not [address]:port",
                            (int)span.size, span.data);
        name = span_of(span.data + 1, close);
        if (close + 1 < end)
            port = span_of(close + 2, end);
    } else if (find(span, ':')) {
        port = span;
        name = cut(&port, ':');
    }
    if (name.size == 0)
        return cny_fail(CONEY_E_INVALID, "URI: a host name is missing; write amqp://host:port/vhost");
    int64_t number = default_port;
    if (port.data && !read_number(port, 1, 65535, &number))
        /* Its value is not shown: without an @ after the value, the value may be a password. */
        return cny_fail(CONEY_E_INVALID, "URI: the port of host '%.*s' is no number from 1 to 65535", (int)name.size,
                        name.data);
    host->port = (int)number;
    return decode(arena, "host", name, &host->name);
}

static coney_status parse_hosts(cny_uri *uri, cny_arena *arena, struct span span)
{
    size_t count = 1;
    for (size_t i = 0; i < span.size; i++)
        count += span.data[i] == ',';
    uri->hosts = cny_arena_alloc(arena, count * sizeof *uri->hosts);
    if (!uri->hosts)
        return cny_fail_memory();
    int default_port = uri->tls ? DEFAULT_TLS_PORT : DEFAULT_PORT;
    coney_status status = CONEY_OK;
    for (; status == CONEY_OK && uri->host_count < count; uri->host_count++)
        status = parse_host(&uri->hosts[uri->host_count], arena, cut(&span, ','), default_port);
    return status;
}

static bool is(struct span span, const char *text)
{
    return span.size == strlen(text) && memcmp(span.data, text, span.size) == 0;
}

static coney_status parse_option(cny_uri *uri, struct span value)
{
    static const struct {
        const char *name;
        int64_t lowest, highest;
    } options[] = {{"heartbeat", 0, 3600}, {"connection_timeout", 1, 3600000}, {"frame_max", 4096, 131072}};
    struct span key = cut(&value, '=');
    size_t i = 0;
    while (i < 3 && !is(key, options[i].name))
        i++;
    if (i == 3)
        return cny_fail(CONEY_E_INVALID,
                        "URI: there is no option '%.*s'; there are heartbeat, connection_timeout and frame_max",
                        (int)key.size, key.data);
    int64_t number;
    if (!read_number(value, options[i].lowest, options[i].highest, &number))
        return cny_fail(CONEY_E_INVALID, "URI: option %s is '%.*s', which is no number from %lld to %lld",
                        options[i].name, (int)value.size, value.data, (long long)options[i].lowest,
                        (long long)options[i].highest);
    int *const fields[] = {&uri->heartbeat_s, &uri->connection_timeout_ms, &uri->frame_max};
    *fields[i] = (int)number;
    return CONEY_OK;
}

static coney_status parse_options(cny_uri *uri, struct span span)
{
    coney_status status = CONEY_OK;
    while (status == CONEY_OK && span.size > 0)
        status = parse_option(uri, cut(&span, '&'));
    return status;
}

static coney_status parse_vhost(cny_uri *uri, cny_arena *arena, struct span span)
{
    if (find(span, '/'))
        return cny_fail(CONEY_E_INVALID, "URI: the virtual host '%.*s' holds a /; write it as %%2F", (int)span.size,
                        span.data);
    /* An empty name is the default one, too: "amqp://host/" means what people mean by it. */
    return span.size > 0 ? decode(arena, "virtual host", span, &uri->vhost) : CONEY_OK;
}

/* The last @ of the authority: a host cannot hold one, a badly written password can. */
static const char *last_at(struct span authority)
{
    for (size_t i = authority.size; i > 0; i--) {
        if (authority.data[i - 1] == '@')
            return &authority.data[i - 1];
    }
    return NULL;
}

static coney_status parse_authority(cny_uri *uri, cny_arena *arena, struct span authority)
{
    const char *at = last_at(authority);
    if (!at)
        return parse_hosts(uri, arena, authority);
    struct span credentials = span_of(authority.data, at);
    if (find(credentials, '@'))
        return cny_fail(CONEY_E_INVALID, "URI: user name or password holds an @; write it as %%40");
    coney_status status = parse_credentials(uri, arena, credentials);
    return status == CONEY_OK ? parse_hosts(uri, arena, span_of(at + 1, authority.data + authority.size)) : status;
}

static coney_status read_scheme(cny_uri *uri, const char **text)
{
    uri->tls = strncasecmp(*text, "amqps://", 8) == 0;
    if (!uri->tls && strncasecmp(*text, "amqp://", 7) != 0)
        return cny_fail(CONEY_E_INVALID, "URI: it does not begin with amqp:// or amqps://");
    *text += uri->tls ? 8 : 7;
    return CONEY_OK;
}

coney_status cny_uri_parse(cny_uri *uri, cny_arena *arena, const char *text)
{
    *uri = (cny_uri){.user = "guest", .vhost = "/", .heartbeat_s = -1, .connection_timeout_ms = -1, .frame_max = -1};
    if (!text)
        return cny_fail(CONEY_E_INVALID, "URI: it is NULL");
    uri->password = cny_arena_copy(arena, "guest", 5); /* in the arena, too, for its owner wipes it */
    if (!uri->password)
        return cny_fail_memory();
    coney_status status = read_scheme(uri, &text);
    if (status != CONEY_OK)
        return status;
    struct span options = span_of(text, text + strlen(text));
    struct span path = cut(&options, '?');
    struct span authority = cut(&path, '/');
    if (find(path, '@') || find(options, '@'))
        return cny_fail(CONEY_E_INVALID, "URI: there is an @ after the first / or ?; in a user name, password or "
                                         "virtual host write @ as %%40, / as %%2F and ? as %%3F");
    status = parse_authority(uri, arena, authority);
    if (status == CONEY_OK)
        status = parse_vhost(uri, arena, path);
    return status == CONEY_OK ? parse_options(uri, options) : status;
}
