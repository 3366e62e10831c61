/* SPDX-License-Identifier: MIT */
/* Publishing through the template against amqp_basic_publish: bodies of 100 bytes, confirmed,
 * asynchronous, 2,000 unconfirmed at most on both sides, routed to a classic queue. */
#include "measure.h"
#include "raw_publisher.h"

#include <coney/coney.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_BYTES 100
#define WINDOW 2000
#define QUEUE "coney.bench.publish"

typedef struct publishing {
    raw_publisher *raw;
    coney_admin *admin;
    coney_template *sender;
    coney_message *message;
    atomic_int confirmed;
    atomic_int failed;
} publishing;

static bool complain(const char *what)
{
    fprintf(stderr, "coney: %s: %s\n", what, coney_last_error());
    return false;
}

static void count(coney_message *message, const coney_error *error, void *user)
{
    publishing *bench = user;
    (void)message;
    atomic_fetch_add_explicit(error ? &bench->failed : &bench->confirmed, 1, memory_order_relaxed);
}

static bool send_by_coney(void *user, int messages)
{
    publishing *bench = user;
    bench->confirmed = bench->failed = 0;
    for (int i = 0; i < messages; i++) {
        if (coney_template_send_async(bench->sender, QUEUE, bench->message, NULL, count, bench) != CONEY_OK)
            return complain("send");
    }
    if (coney_template_wait_for_confirms(bench->sender, 60000) != CONEY_OK)
        return complain("wait");
    return bench->confirmed == messages || complain("not all were confirmed");
}

static bool send_by_raw(void *user, int messages)
{
    const publishing *bench = user;
    return raw_publisher_send(bench->raw, "", QUEUE, BODY_BYTES, messages, WINDOW);
}

static void purge(void *user)
{
    const publishing *bench = user;
    if (coney_admin_purge_queue(bench->admin, QUEUE, NULL) != CONEY_OK)
        complain("purge");
}

static bool prepare(publishing *bench, coney_connection_factory *factory, const char *uri)
{
    static const char body[BODY_BYTES];
    const coney_properties properties = {.delivery_mode = CONEY_TRANSIENT};
    bool done =
        coney_admin_new(&bench->admin, factory, NULL) == CONEY_OK &&
        coney_admin_declare_queue(bench->admin, &(coney_queue){.name = QUEUE}, NULL) == CONEY_OK &&
        coney_template_new(&bench->sender, factory, &(coney_template_options){.max_unconfirmed = WINDOW}) == CONEY_OK &&
        coney_message_new(&bench->message, body, sizeof body, &properties) == CONEY_OK;
    if (!done)
        return complain("prepare");
    bench->raw = raw_publisher_new(uri);
    return bench->raw;
}

int main(int count_of_arguments, char **arguments)
{
    const char *json_path = NULL;
    if (count_of_arguments == 3 && strcmp(arguments[1], "--json") == 0)
        json_path = arguments[2];
    else if (count_of_arguments != 1) {
        fprintf(stderr, "usage: %s [--json FILE]\n", arguments[0]);
        return 2;
    }
    const char *uri = getenv("CONEY_URI");
    if (!uri)
        uri = "amqp://guest:guest@localhost";
    coney_connection_factory *factory = NULL;
    publishing bench = {.raw = NULL};
    bool done = coney_connection_factory_new(&factory, uri, NULL) == CONEY_OK || complain("factory");
    done = done && prepare(&bench, factory, uri);
    done = done && bench_run(&(bench_case){.name = "publish-confirm",
                                           .messages = 100000,
                                           .rounds = 7,
                                           .coney = send_by_coney,
                                           .raw = send_by_raw,
                                           .between = purge,
                                           .user = &bench},
                             json_path);
    if (bench.admin)
        coney_admin_delete_queue(bench.admin, QUEUE, NULL);
    coney_template_free(bench.sender);
    coney_message_unref(bench.message);
    coney_admin_free(bench.admin);
    coney_connection_factory_free(factory);
    raw_publisher_free(bench.raw);
    return done ? 0 : 1;
}
