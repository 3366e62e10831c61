/* SPDX-License-Identifier: MIT */
#include "support/answering.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_HELD = 4000 };

coney_template *asker;
atomic_int answering_seen;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static coney_message *last;
static struct {
    char reply_to[300], id[200];
} held[MAX_HELD];
static atomic_int held_count;

/* ---- the server ---- */

static void note(const coney_delivery *delivery)
{
    pthread_mutex_lock(&lock);
    coney_message_unref(last);
    last = coney_message_ref(coney_delivery_message(delivery));
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&answering_seen, 1);
}

coney_message *answering_last(void)
{
    pthread_mutex_lock(&lock);
    coney_message *message = last;
    pthread_mutex_unlock(&lock);
    return message;
}

static void hold(const coney_message *request)
{
    const coney_properties *properties = coney_message_properties(request);
    int at = atomic_load(&held_count);
    if (at < MAX_HELD) {
        snprintf(held[at].reply_to, sizeof held[at].reply_to, "%s", properties->reply_to);
        snprintf(held[at].id, sizeof held[at].id, "%s", properties->correlation_id);
        atomic_store(&held_count, at + 1);
    }
}

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[64];
    coney_message *reply = NULL;
    listening_text(delivery, text);
    if (strncmp(text, "echo ", 5) == 0)
        reply = test_text(text + 5);
    else if (strncmp(text, "error ", 6) == 0)
        check(coney_message_new_error(
                  &reply, &(coney_remote_error){.code = text + 6, .message = "as asked for", .retriable = true}) ==
              CONEY_OK);
    else if (strcmp(text, "hold") == 0)
        hold(coney_delivery_message(delivery));
    coney_delivery_set_reply(delivery, reply);
    note(delivery);
    return CONEY_ACK;
}

void answering_answer_held(int count, const char *text)
{
    test_wait_for(&held_count, count);
    for (int i = count; i-- > 0;) {
        coney_message *reply;
        assert_ok(coney_message_new(&reply, text, strlen(text), &(coney_properties){.correlation_id = held[i].id}));
        assert_ok(coney_template_send_async(client.sender, held[i].reply_to, reply,
                                            &(coney_send_options){.drop_unroutable = true}, NULL, NULL));
        coney_message_unref(reply);
    }
    assert_ok(coney_template_wait_for_confirms(client.sender, TEST_PATIENCE_MS));
    atomic_store(&held_count, 0);
}

/* ---- the fixture ---- */

int answering_setup(void **state)
{
    int status = listening_setup(state);
    atomic_store(&answering_seen, 0);
    atomic_store(&held_count, 0);
    listening_start(&(coney_listener){.on_message = answer});
    return status;
}

int answering_teardown(void **state)
{
    coney_template_free(asker);
    asker = NULL;
    int status = listening_teardown(state);
    coney_message_unref(last);
    last = NULL;
    return status;
}

void answering_use(const coney_rpc_options *options)
{
    coney_template_options all = {.routing_key = listening.queue};
    if (options)
        all.rpc = *options;
    coney_template_free(asker);
    asker = NULL;
    assert_ok(coney_template_new(&asker, client.factory, &all));
}

/* ---- asking ---- */

static coney_message *reply_of_last;

coney_status answering_status(const char *text, int timeout_ms)
{
    coney_message *request = test_text(text);
    coney_message_unref(reply_of_last);
    coney_status status = coney_template_send_and_receive(asker, &reply_of_last, NULL, request,
                                                          &(coney_request_options){.timeout_ms = timeout_ms});
    coney_message_unref(request);
    return status;
}

const char *answering_ask(const char *text, int timeout_ms)
{
    static char body[256];
    if (answering_status(text, timeout_ms) != CONEY_OK)
        return NULL;
    snprintf(body, sizeof body, "%.*s", (int)coney_message_size(reply_of_last),
             (const char *)coney_message_body(reply_of_last));
    coney_message_unref(reply_of_last);
    reply_of_last = NULL;
    return body;
}

coney_request *answering_begin(const char *text, int timeout_ms)
{
    coney_request *request;
    coney_message *message = test_text(text);
    assert_ok(coney_template_begin_request(asker, &request, NULL, message,
                                           &(coney_request_options){.timeout_ms = timeout_ms}));
    coney_message_unref(message);
    return request;
}

coney_rpc_statistics answering_statistics(void)
{
    coney_rpc_statistics statistics;
    assert_ok(coney_template_rpc_statistics(asker, &statistics));
    return statistics;
}
