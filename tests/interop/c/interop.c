/* SPDX-License-Identifier: MIT */
/* What the cases share: see interop.h. Test thread only. */
#include "interop.h"

#include <stdlib.h>
#include <time.h>

enum { PATIENCE_MS = 20000, PATIENCE_FOR_ALL_MS = 90000 };

const char *interop_line = "0";

const interop_case *const interop_tables[] = {
    interop_json_cases,     interop_value_cases,    interop_typed_cases,
    interop_listener_cases, interop_property_cases, interop_body_cases,
    interop_talk_cases,     interop_rpc_cases,      NULL,
};

const char *interop_name(const char *what)
{
    static char names[10][256];
    static int next;
    char *name = names[next++ % 10];
    snprintf(name, sizeof names[0], "interop.%s.%s", interop_line, what);
    return name;
}

int interop_patience(void)
{
    static time_t start;
    time_t now = time(NULL);
    if (start == 0)
        start = now;
    int64_t left = PATIENCE_FOR_ALL_MS - (int64_t)(now - start) * 1000;
    return left > PATIENCE_MS ? PATIENCE_MS : left > 500 ? (int)left : 500;
}

void interop_send(const char *queue, coney_message *message)
{
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    coney_message_unref(message);
}

static char *with_quotes(const char *json)
{
    char *text = strdup(json);
    assert_non_null(text);
    for (char *at = text; (at = strchr(at, '\'')); at++)
        *at = '"';
    return text;
}

json_t *interop_json(const char *json)
{
    json_error_t error;
    char *text = with_quotes(json);
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value)
        fail_msg("%s in %s", error.text, text);
    free(text);
    return value;
}

void interop_send_json(const char *queue, const char *json, const char *type_id)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    json_t *value = interop_json(json);
    if (type_id)
        assert_ok(coney_table_set_string(headers, "__TypeId__", type_id));
    assert_ok(coney_message_new_json(&message, value, &(coney_properties){.headers = headers}));
    json_decref(value);
    coney_table_free(headers);
    interop_send(queue, message);
}

void interop_expect_json(coney_message *message, const char *json)
{
    json_t *got, *expected = interop_json(json);
    assert_ok(coney_message_json(&got, message));
    if (!json_equal(got, expected)) {
        char *text = json_dumps(got, JSON_ENCODE_ANY);
        fail_msg("got %s", text);
    }
    json_decref(got);
    json_decref(expected);
}

void interop_expect_kind(coney_message *message, coney_content_kind kind)
{
    coney_content *content;
    assert_ok(coney_message_content(&content, message, NULL));
    assert_int_equal(content->kind, kind);
    coney_content_free(content);
}

void interop_expect_header(const coney_message *message, const char *name, const char *text)
{
    const coney_table *headers = coney_message_properties(message)->headers;
    if (!text)
        assert_null(coney_table_get(headers, name));
    else if (!coney_table_get_string(headers, name))
        fail_msg("there is no text %s", name);
    else
        assert_string_equal(coney_table_get_string(headers, name), text);
}

const coney_value *interop_header(const coney_message *message, const char *name, coney_value_type type)
{
    const coney_value *value = coney_message_header(message, name);
    if (!value)
        fail_msg("there is no header %s", name);
    else if (value->type != type)
        fail_msg("header %s has type %d, not %d", name, (int)value->type, (int)type);
    return value;
}

void interop_process(coney_message **message, coney_processor processor)
{
    coney_message *before = *message;
    assert_ok(processor.process(message, "", "", processor.user));
    if (*message != before)
        coney_message_unref(before);
    coney_processor_free(&processor);
}

void interop_listen(const coney_listener *listener, uint64_t messages)
{
    coney_container *container;
    coney_listener_statistics seen = {0};
    coney_listener named = *listener;
    named.id = "listener";
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &named));
    assert_ok(coney_container_start(container));
    const struct timespec tick = {.tv_nsec = 2000000};
    for (int left = interop_patience(); seen.acknowledged + seen.rejected < messages && left > 0; left -= 2) {
        nanosleep(&tick, NULL);
        assert_ok(coney_container_statistics(container, named.id, &seen));
    }
    coney_container_free(container);
    if (seen.acknowledged + seen.rejected < messages)
        fail_msg("%d of %d messages came to %s", (int)(seen.acknowledged + seen.rejected), (int)messages,
                 listener->queue);
}

void interop_declare_dead_lettering(const char *name, const char *dead_letters)
{
    const coney_queue queue = {.name = interop_name(name),
                               .expires_ms = 600000,
                               .dead_letter_exchange = "",
                               .dead_letter_routing_key = interop_name(dead_letters)};
    assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
}
