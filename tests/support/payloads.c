/* SPDX-License-Identifier: MIT */
/* See payloads.h. */
#include "support/payloads.h"
#include "support/plain_client.h"

#include <pthread.h>
#include <stdio.h>

/* ---- a handler that notes what it gets ---- */

enum { MAX_NOTES = 20 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char notes[MAX_NOTES][400];
static atomic_int note_count;

void payloads_note(const char *who, const char *what)
{
    pthread_mutex_lock(&lock);
    check(note_count < MAX_NOTES);
    if (note_count < MAX_NOTES)
        snprintf(notes[note_count], sizeof notes[0], "%s%s", who, what);
    atomic_fetch_add(&note_count, 1);
    pthread_mutex_unlock(&lock);
}

static void describe_object(char *to, size_t size, const coney_content *content)
{
    if (content->type == &order_type)
        snprintf(to, size, "order %d", (int)((const order *)content->object)->id);
    else if (content->type == &customer_type)
        snprintf(to, size, "customer %s", ((const customer *)content->object)->name);
    else if (content->type == &orders_type)
        snprintf(to, size, "%zu orders", ((const coney_list *)content->object)->count);
    else
        snprintf(to, size, "another type");
}

static void describe(char *to, size_t size, const coney_delivery *delivery)
{
    const coney_content *content = coney_delivery_content(delivery);
    check(coney_delivery_type(delivery) == (content ? content->type : NULL));
    if (!content)
        snprintf(to, size, "nothing: %s", coney_last_error());
    else if (content->kind == CONEY_CONTENT_OBJECT)
        describe_object(to, size, content);
    else if (content->kind == CONEY_CONTENT_JSON)
        snprintf(to, size, "JSON of %zu", json_object_size(content->json));
    else if (content->kind == CONEY_CONTENT_TEXT)
        snprintf(to, size, "text %s", content->text);
    else
        snprintf(to, size, "bytes %s", (const char *)content->bytes.data);
}

/* The same by all functions. */
static void check_alike(const coney_delivery *delivery)
{
    const void *payload = coney_delivery_payload(delivery);
    const coney_content *content = coney_delivery_content(delivery);
    if (!content)
        check(!payload);
    else if (content->kind == CONEY_CONTENT_OBJECT)
        check(payload == content->object && coney_delivery_object(delivery, content->type) == payload);
    else if (content->kind == CONEY_CONTENT_JSON)
        check(payload == content->json && coney_delivery_json(delivery) == payload);
    else if (content->kind == CONEY_CONTENT_TEXT)
        check(payload == content->text && coney_delivery_text(delivery) == payload);
    else
        check(((const coney_bytes *)payload)->data == content->bytes.data);
}

coney_outcome payloads_note_as(const char *who, const coney_delivery *delivery)
{
    char text[400];
    describe(text, sizeof text, delivery);
    check_alike(delivery);
    payloads_note(who, text);
    return CONEY_ACK;
}

coney_outcome payloads_take(coney_delivery *delivery, void *user)
{
    (void)user;
    return payloads_note_as("", delivery);
}

coney_outcome payloads_take_first(coney_delivery *delivery, void *user)
{
    (void)user;
    return payloads_note_as("first: ", delivery);
}

coney_outcome payloads_take_second(coney_delivery *delivery, void *user)
{
    (void)user;
    return payloads_note_as("second: ", delivery);
}

int payloads_setup(void **state)
{
    note_count = 0;
    return listening_setup(state);
}

/* ---- messages ---- */

/* As Spring's converters write headers: long strings. Coney itself always writes a content type. */
void payloads_send_as(const char *body, const char *content_type, const char *id, const char *content, const char *key)
{
    if (!content_type) {
        plain_publish("", listening.queue, &(amqp_basic_properties_t){0}, body);
        return;
    }
    coney_table *headers = coney_table_new();
    if (id)
        assert_ok(coney_table_set_string(headers, "__TypeId__", id));
    if (content)
        assert_ok(coney_table_set_string(headers, "__ContentTypeId__", content));
    if (key)
        assert_ok(coney_table_set_string(headers, "__KeyTypeId__", key));
    listening_send_with(
        body, &(coney_properties){.content_type = content_type, .content_encoding = "UTF-8", .headers = headers});
    coney_table_free(headers);
}

void payloads_send_json(const char *body, const char *id)
{
    payloads_send_as(body, "application/json", id, NULL, NULL);
}

/* The oldest note has these words; it is forgotten. */
void payloads_expect(const char *words)
{
    char text[400];
    test_wait_until(note_count > 0);
    pthread_mutex_lock(&lock);
    snprintf(text, sizeof text, "%s", notes[0]);
    memmove(notes, notes + 1, sizeof notes - sizeof notes[0]);
    atomic_fetch_sub(&note_count, 1);
    pthread_mutex_unlock(&lock);
    if (!strstr(text, words))
        fail_msg("'%s' is not in '%s'", words, text);
}

/* The message that was sent last is rejected, no handler is called, and the log tells why. */
void payloads_expect_rejected(const char *words)
{
    test_log_expect(words);
    test_wait_until(listening_statistics().rejected > 0);
    assert_int_equal(note_count, 0);
}

int payloads_teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}
