/* SPDX-License-Identifier: MIT */
/* AMQP's opening, spoken by ourselves: version, SASL, tuning, virtual host. I/O thread only.
 *
 * rabbitmq-c could do it, but not so that another thread can end it at once, not over TLS whose
 * verification is ours, and not without reading bytes of ours that it cannot give back. It encodes
 * and decodes the methods. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <coney/amqp/version.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL_MAX 2047 /* what RabbitMQ allows by default */
#define TLS_ALERT 0x15   /* the first byte of what a TLS server answers to a plain client */

typedef struct login {
    cny_wire *wire;
    const cny_wire_target *target;
    int64_t deadline;
    bool greeted; /* a frame has come, so the peer speaks AMQP */
    int broker_version;
} login;

/* ---- what can be wrong ---- */

static coney_status fail_protocol(const login *in, const char *what)
{
    return cny_fail(CONEY_E_PROTOCOL, "%s:%d does not speak AMQP 0-9-1 as expected: %s", in->target->host,
                    in->target->port, what);
}

/* What was read is no frame. The usual reasons: an older broker, a TLS port, a port of something else. */
static coney_status fail_frame(const login *in)
{
    const uint8_t *at = in->wire->input + in->wire->input_start;
    size_t size = in->wire->input_end - in->wire->input_start;
    if (in->greeted || size < 4)
        return fail_protocol(in, coney_last_error());
    if (memcmp(at, "HTTP", 4) == 0)
        return fail_protocol(in, "the server speaks HTTP; AMQP has another port, by default 5672");
    if (at[0] == TLS_ALERT && at[1] == 3)
        return fail_protocol(in, "it speaks TLS; the URI must begin with amqps://");
    if (memcmp(at, "AMQP", 4) != 0)
        return fail_protocol(in, coney_last_error());
    if (size < 8)
        return fail_protocol(in, "it wants another version of AMQP");
    return cny_fail(CONEY_E_PROTOCOL,
                    "%s:%d does not speak AMQP 0-9-1 as expected: it wants AMQP %u-%u-%u (protocol %u)",
                    in->target->host, in->target->port, at[5], at[6], at[7], at[4]);
}

static bool is_silent(const login *in)
{
    return !in->greeted && in->wire->input_end == 0;
}

/* Says for a failed wait, read or write at which stage it happened. */
static coney_status fail_transport(const login *in, coney_status status)
{
    const cny_wire_target *target = in->target;
    if (status == CONEY_E_TIMEOUT)
        return cny_fail(status, "%s:%d accepted the connection but did not finish the login within %d ms%s",
                        target->host, target->port, target->timeout_ms,
                        is_silent(in) ? ": the server has said nothing; is this an AMQP port? An HTTP port, such as "
                                        "RabbitMQ's 15672, waits like this"
                                      : "");
    if (status == CONEY_E_LOST)
        return cny_fail(CONEY_E_CONNECT, "%s:%d closed the connection during login: %s%s", target->host, target->port,
                        coney_last_error(), is_silent(in) ? "; is this an AMQP port?" : "");
    return status;
}

/* What most who run a broker in a container meet first. */
static const char *hint_at_guest(const login *in, int code)
{
    bool is_guest = !in->target->external && strcmp(in->target->user, "guest") == 0;
    return code == 403 && is_guest
               ? " (the password may be wrong; and RabbitMQ by default lets the user guest in from its own host only, "
                 "and a container is a host of its own: then add another user)"
               : "";
}

static coney_status fail_closed(const login *in, const amqp_connection_close_t *close)
{
    const cny_wire_target *target = in->target;
    char text[256];
    cny_copy_sentence(text, close->reply_text);
    return cny_fail_code(cny_reply_status(close->reply_code), close->reply_code,
                         "%s:%d refuses %s%s%s on virtual host '%s': %d %s%s", target->host, target->port,
                         target->external ? "the client's certificate" : "user '", target->external ? "" : target->user,
                         target->external ? "" : "'", target->vhost, close->reply_code, text,
                         hint_at_guest(in, close->reply_code));
}

/* ---- frames out and in ---- */

/* A peer that has hung up may have said why; so reading, which follows, tells of it. */
static coney_status send_all(const login *in, const cny_buffer *out)
{
    coney_status status = CONEY_OK;
    for (size_t at = 0; status == CONEY_OK && at < out->size;) {
        size_t written;
        status = cny_wire_write(in->wire, out->data + at, out->size - at, &written);
        at += written;
        if (status == CONEY_OK && at < out->size)
            status = cny_wire_wait(in->wire, POLLOUT, in->deadline);
    }
    return status == CONEY_OK || status == CONEY_E_LOST ? CONEY_OK : fail_transport(in, status);
}

static coney_status next_frame(login *in, cny_frame *frame)
{
    for (;;) {
        bool have = false;
        if (cny_wire_cut_frame(in->wire, frame, &have) != CONEY_OK)
            return fail_frame(in);
        in->greeted |= have;
        if (have)
            return CONEY_OK;
        size_t received;
        coney_status status = cny_wire_fit_input(in->wire);
        if (status == CONEY_OK && !cny_wire_has_input(in->wire))
            status = cny_wire_wait(in->wire, POLLIN, in->deadline);
        if (status == CONEY_OK)
            status = cny_wire_read(in->wire, &received);
        if (status != CONEY_OK)
            return fail_transport(in, status);
    }
}

/* The broker ends it: answered as it should be, if the socket takes that at once. */
static coney_status on_close(const login *in, const amqp_connection_close_t *close)
{
    size_t written;
    cny_buffer out = {0};
    if (cny_encode_connection_close_ok(&out) == CONEY_OK)
        cny_wire_write(in->wire, out.data, out.size, &written);
    cny_buffer_free(&out);
    return fail_closed(in, close);
}

static coney_status next_method(login *in, uint32_t *id, void **decoded)
{
    cny_frame frame;
    coney_status status;
    do {
        status = next_frame(in, &frame);
    } while (status == CONEY_OK && frame.type == AMQP_FRAME_HEARTBEAT);
    if (status != CONEY_OK)
        return status;
    if (frame.type != AMQP_FRAME_METHOD)
        return fail_protocol(in, "it sent content instead of a method");
    recycle_amqp_pool(&in->wire->pool);
    status = cny_wire_decode_method(in->wire, &frame, id, decoded);
    return status == CONEY_E_PROTOCOL ? fail_protocol(in, coney_last_error()) : status;
}

/* Waits for this method; it lives in the wire's pool until the next one. NULL, and *status tells, if
 * anything else comes. */
static const void *expect(login *in, amqp_method_number_t wanted, coney_status *status)
{
    uint32_t id = 0;
    void *decoded = NULL;
    *status = next_method(in, &id, &decoded);
    if (*status != CONEY_OK)
        return NULL;
    if (id == wanted)
        return decoded;
    if (id == AMQP_CONNECTION_CLOSE_METHOD && decoded)
        *status = on_close(in, decoded);
    else if (id == AMQP_CONNECTION_SECURE_METHOD)
        *status =
            fail_protocol(in, "it asks a second question (connection.secure), which PLAIN and EXTERNAL do not have");
    else
        *status = cny_fail(CONEY_E_PROTOCOL, "%s:%d answered the login with method %u.%u", in->target->host,
                           in->target->port, id >> 16, id & 0xffffU);
    return NULL;
}

/* ---- start ---- */

static bool same(amqp_bytes_t a, amqp_bytes_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.bytes, b.bytes, a.len) == 0);
}

/* The names stand with a space between them. */
static bool offers(amqp_bytes_t mechanisms, const char *wanted)
{
    const char *at = mechanisms.bytes, *end = at + mechanisms.len;
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at));
        const char *to = space ? space : end;
        amqp_bytes_t offered = {.len = (size_t)(to - at), .bytes = (void *)(uintptr_t)at};
        if (same(offered, amqp_cstring_bytes(wanted)))
            return true;
        at = space ? space + 1 : end;
    }
    return false;
}

static const char *mechanism(const cny_wire_target *target)
{
    return target->external ? "EXTERNAL" : "PLAIN";
}

static coney_status check_start(const login *in, const amqp_connection_start_t *start)
{
    const cny_wire_target *target = in->target;
    if (start->version_major != 0 || start->version_minor != 9)
        return cny_fail(CONEY_E_PROTOCOL, "%s:%d does not speak AMQP 0-9-1 as expected: it offers version %u-%u",
                        target->host, target->port, start->version_major, start->version_minor);
    if (offers(start->mechanisms, mechanism(target)))
        return CONEY_OK;
    char offered[256];
    cny_copy_sentence(offered, start->mechanisms);
    return cny_fail(CONEY_E_PROTOCOL, "%s:%d does not offer the SASL mechanism %s; it offers %s", target->host,
                    target->port, mechanism(target), offered);
}

/* The first two numbers of the broker's version, such as 3 and 10 of "3.10.8", as CNY_BROKER_VERSION() makes them one;
 * 0 if it tells none. */
static int read_version(const amqp_table_t *properties)
{
    for (int i = 0; i < properties->num_entries; i++) {
        const amqp_table_entry_t *one = &properties->entries[i];
        bool is_text = one->value.kind == AMQP_FIELD_KIND_UTF8 && one->value.value.bytes.len > 0;
        char text[16] = "";
        if (!is_text || !same(one->key, amqp_cstring_bytes("version")))
            continue;
        snprintf(text, sizeof text, "%.*s", (int)one->value.value.bytes.len,
                 (const char *)one->value.value.bytes.bytes);
        int major = 0, minor = 0;
        bool is_version = sscanf(text, "%3d.%3d", &major, &minor) >= 1 && major > 0 && minor >= 0;
        return is_version ? CNY_BROKER_VERSION(major, minor) : 0;
    }
    return 0;
}

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(text);
    return entry;
}

static amqp_table_entry_t capability(const char *key)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static bool holds(const amqp_table_t *table, amqp_bytes_t key)
{
    for (int i = 0; i < table->num_entries; i++) {
        if (same(table->entries[i].key, key))
            return true;
    }
    return false;
}

/* The program's properties and ours. A key of ours that it sets is its own, but for the
 * capabilities, which say what Coney can do. */
static bool merge_properties(cny_arena *arena, amqp_table_t *merged, const coney_table *given, const amqp_table_t *ours)
{
    amqp_table_t theirs;
    if (!cny_table_to_amqp(arena, &theirs, given))
        return false;
    size_t most = (size_t)theirs.num_entries + (size_t)ours->num_entries;
    *merged = (amqp_table_t){.entries = cny_arena_alloc(arena, most * sizeof *merged->entries)};
    if (!merged->entries)
        return false;
    for (int i = 0; i < theirs.num_entries; i++) {
        if (!same(theirs.entries[i].key, amqp_cstring_bytes("capabilities")))
            merged->entries[merged->num_entries++] = theirs.entries[i];
    }
    for (int i = 0; i < ours->num_entries; i++) {
        if (!holds(merged, ours->entries[i].key))
            merged->entries[merged->num_entries++] = ours->entries[i];
    }
    return true;
}

/* Encodes start-ok with its properties. The buffer has room for all, so that no copy of the
 * password is left behind where it grew. */
static coney_status encode_start_ok(cny_buffer *out, const cny_wire_target *target, amqp_bytes_t response)
{
    /* Without these the broker never tells of cancelled consumers or of blocking. */
    amqp_table_entry_t capabilities[] = {
        capability("consumer_cancel_notify"),     capability("connection.blocked"),
        capability("publisher_confirms"),         capability("basic.nack"),
        capability("exchange_exchange_bindings"), capability("authentication_failure_close"),
    };
    amqp_table_entry_t entries[] = {
        text_entry("product", "Coney"),
        text_entry("version", CONEY_VERSION),
        text_entry("platform", "C"),
        text_entry("connection_name", target->connection_name),
        {.key = amqp_cstring_bytes("capabilities"), .value = {.kind = AMQP_FIELD_KIND_TABLE}},
    };
    amqp_table_t ours = {.num_entries = sizeof entries / sizeof *entries, .entries = entries};
    entries[ours.num_entries - 1].value.value.table =
        (amqp_table_t){.num_entries = sizeof capabilities / sizeof *capabilities, .entries = capabilities};
    amqp_connection_start_ok_t method = {.mechanism = amqp_cstring_bytes(mechanism(target)),
                                         .response = response,
                                         .locale = amqp_cstring_bytes("en_US")};
    cny_arena arena;
    _Alignas(max_align_t) char room[1024];
    cny_arena_init(&arena, room, sizeof room);
    int size = AMQP_STATUS_NO_MEMORY;
    if (merge_properties(&arena, &method.client_properties, target->client_properties, &ours))
        size =
            cny_append_method(out, 0, AMQP_CONNECTION_START_OK_METHOD, &method, CNY_LARGEST_FRAME - CNY_FRAME_OVERHEAD);
    cny_arena_free(&arena);
    if (size == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    return size >= 0 ? CONEY_OK
                     : cny_fail(CONEY_E_INVALID, "client_properties, user and password do not fit a frame of %zu bytes",
                                CNY_LARGEST_FRAME);
}

/* "\0user\0password" for PLAIN; EXTERNAL says nothing, because the certificate has said it. */
static bool make_response(const cny_wire_target *target, amqp_bytes_t *response)
{
    size_t user = target->external ? 0 : strlen(target->user);
    size_t password = target->external ? 0 : strlen(target->password);
    response->len = target->external ? 0 : user + password + 2;
    char *text = cny_alloc(response->len + 1);
    response->bytes = text;
    if (!text || target->external)
        return text;
    memcpy(text + 1, target->user, user);
    memcpy(text + 2 + user, target->password, password);
    return true;
}

static coney_status send_start_ok(const login *in)
{
    amqp_bytes_t response;
    if (!make_response(in->target, &response))
        return cny_fail_memory();
    cny_buffer out = {0};
    coney_status status = cny_buffer_reserve(&out, CNY_LARGEST_FRAME) ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK)
        status = encode_start_ok(&out, in->target, response);
    if (status == CONEY_OK)
        status = send_all(in, &out);
    explicit_bzero(response.bytes, response.len);
    cny_free(response.bytes);
    if (out.data)
        explicit_bzero(out.data, out.capacity);
    cny_buffer_free(&out);
    return status;
}

static coney_status start(login *in)
{
    static const uint8_t header[] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
    cny_buffer out = {.data = (uint8_t *)(uintptr_t)header, .size = sizeof header, .borrowed = true};
    coney_status status = send_all(in, &out);
    if (status != CONEY_OK)
        return status;
    const amqp_connection_start_t *begin = expect(in, AMQP_CONNECTION_START_METHOD, &status);
    if (!begin)
        return status;
    in->broker_version = read_version(&begin->server_properties);
    status = check_start(in, begin);
    return status == CONEY_OK ? send_start_ok(in) : status;
}

/* ---- tune and open ---- */

/* The broker's 0 means that it sets no limit. Our 0 for the heartbeat is the program's wish for none. */
static uint32_t lower(uint32_t ours, uint32_t theirs)
{
    return theirs != 0 && theirs < ours ? theirs : ours;
}

static coney_status agree(const login *in, const amqp_connection_tune_t *tune, cny_wire_limits *limits)
{
    const cny_wire_target *target = in->target;
    *limits = (cny_wire_limits){
        .channel_max = (uint16_t)lower(CHANNEL_MAX, tune->channel_max),
        .frame_max = lower(target->frame_max, tune->frame_max),
        .heartbeat_s = (int)lower((uint32_t)target->heartbeat_s, tune->heartbeat),
        .broker_version = in->broker_version,
    };
    if (limits->frame_max < CNY_FRAME_MIN)
        return cny_fail(CONEY_E_PROTOCOL, "%s:%d wants frames of at most %u bytes; AMQP needs %d", target->host,
                        target->port, limits->frame_max, CNY_FRAME_MIN);
    return CONEY_OK;
}

/* Both in one packet: the broker answers the second only. */
static coney_status send_tune_ok_and_open(const login *in, const cny_wire_limits *limits)
{
    enum { ROOM = 512 };
    amqp_connection_tune_ok_t tune_ok = {
        .channel_max = limits->channel_max, .frame_max = limits->frame_max, .heartbeat = (uint16_t)limits->heartbeat_s};
    amqp_connection_open_t open = {.virtual_host = amqp_cstring_bytes(in->target->vhost)};
    cny_buffer out = {0};
    bool encoded = cny_append_method(&out, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &tune_ok, ROOM) >= 0 &&
                   cny_append_method(&out, 0, AMQP_CONNECTION_OPEN_METHOD, &open, ROOM) >= 0;
    coney_status status = encoded ? send_all(in, &out) : cny_fail_memory();
    cny_buffer_free(&out);
    return status;
}

static coney_status tune_and_open(login *in)
{
    coney_status status;
    cny_wire_limits limits;
    const amqp_connection_tune_t *tune = expect(in, AMQP_CONNECTION_TUNE_METHOD, &status);
    if (!tune)
        return status;
    status = agree(in, tune, &limits);
    if (status == CONEY_OK)
        status = send_tune_ok_and_open(in, &limits);
    if (status == CONEY_OK && expect(in, AMQP_CONNECTION_OPEN_OK_METHOD, &status))
        in->wire->limits = limits; /* what was read after open-ok stays in the input, and is checked by them */
    return status;
}

coney_status cny_wire_log_in(cny_wire *wire, const cny_wire_target *target, int64_t deadline)
{
    login in = {.wire = wire, .target = target, .deadline = deadline};
    wire->limits = (cny_wire_limits){.channel_max = 0, .frame_max = CNY_LARGEST_FRAME};
    wire->max_message_bytes = target->max_message_bytes;
    wire->owner = target->owner;
    coney_status status = cny_wire_make_input(wire);
    if (status == CONEY_OK)
        status = start(&in);
    if (status == CONEY_OK)
        status = tune_and_open(&in);
    recycle_amqp_pool(&wire->pool);
    return status;
}
