/* SPDX-License-Identifier: MIT */
#include "chaos/requests.h"

#include "chaos/account.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUESTS "chaos.requests"
#define REPLIES "chaos.replies"

enum { STATUSES = CONEY_E_REMOTE_ERROR + 1, PER_MINUTE = 30000, TICK_MS = 10 };
enum { TIMEOUT_MS = 1500, MARGIN_MS = 3000, END_MS = 20000, HANDLES = 8 };

/* What the server does with a request, by its number. */
enum { KINDS = 16, SILENT = 0, FAILING = 1, SLOW = 2, SLOW_MS = 20 };

typedef enum caller { SYNC_DIRECT, SYNC_FIXED, BY_CALLBACK, BY_HANDLE, CALLERS } caller;

static coney_admin *admin;
static coney_container *server;
static coney_template *direct, *fixed;
static pthread_t threads[CALLERS];
static int threads_started;
static atomic_bool asking = true;

static atomic_int begun, ended;
static atomic_uchar *handled, *over; /* by number */
static int most;
static atomic_llong by_status[STATUSES];

static bool complain(const char *what)
{
    fprintf(stderr, "chaos: %s: %s\n", what, coney_last_error());
    return false;
}

/* ---- the account ---- */

/* -1: there are no more numbers. */
static int begin_request(void)
{
    int number = atomic_fetch_add(&begun, 1);
    if (number < most)
        return number;
    atomic_fetch_sub(&begun, 1);
    return -1;
}

static int number_of(const coney_message *message)
{
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)coney_message_size(message), (const char *)coney_message_body(message));
    return atoi(text);
}

static void end_request(int number, const coney_message *reply, coney_status status)
{
    if (atomic_exchange(&over[number], 1))
        account_surprise("a request ended twice");
    atomic_fetch_add(&ended, 1);
    atomic_fetch_add(&by_status[status], 1);
    if (status != CONEY_OK)
        return;
    if (!reply || number_of(reply) != number)
        account_surprise("a request got the reply to another one");
    if (!atomic_load(&handled[number]))
        account_surprise("a request was answered that nobody handled");
}

/* ---- the server ---- */

static coney_outcome serve(coney_delivery *delivery, void *user)
{
    char text[16];
    int number = number_of(coney_delivery_message(delivery));
    (void)user;
    if (number < 0 || number >= most) {
        account_surprise("a request came that nobody sent");
        return CONEY_REJECT;
    }
    atomic_store(&handled[number], 1);
    snprintf(text, sizeof text, "%d", number);
    if (number % KINDS == SLOW)
        sleep_ms(SLOW_MS);
    if (number % KINDS == FAILING)
        coney_delivery_set_reply_error(delivery, "FAILED", "%s", text);
    else if (number % KINDS != SILENT)
        coney_delivery_set_reply_text(delivery, text);
    return CONEY_ACK;
}

/* ---- the callers ---- */

static coney_message *request_of(int number)
{
    char text[16];
    coney_message *message = NULL;
    int size = snprintf(text, sizeof text, "%d", number);
    coney_message_new(&message, text, (size_t)size, NULL);
    return message;
}

static const coney_request_options patience = {.timeout_ms = TIMEOUT_MS};

static void ask_and_wait(coney_template *asker, int number)
{
    coney_message *request = request_of(number), *reply;
    int64_t start_ms = cny_now_ms();
    coney_status status = coney_template_send_and_receive(asker, &reply, NULL, request, &patience);
    if (cny_now_ms() - start_ms > TIMEOUT_MS + MARGIN_MS)
        account_surprise("a request outlasted its deadline");
    end_request(number, reply, status);
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void on_end(coney_message *reply, const coney_error *error, void *user)
{
    end_request((int)(intptr_t)user, reply, error ? error->status : CONEY_OK);
}

static void ask_with_callback(int number)
{
    coney_message *request = request_of(number);
    coney_status status =
        coney_template_request_async(direct, NULL, request, &patience, on_end, (void *)(intptr_t)number);
    if (status != CONEY_OK)
        end_request(number, NULL, status);
    coney_message_unref(request);
}

/* Several at a time, of which the first one is cancelled. */
static void ask_with_handles(void)
{
    coney_request *requests[HANDLES];
    int numbers[HANDLES], count = 0;
    for (int number; count < HANDLES && (number = begin_request()) >= 0; count++) {
        coney_message *request = request_of(number);
        numbers[count] = number;
        if (coney_template_begin_request(direct, &requests[count], NULL, request, &patience) != CONEY_OK)
            end_request(number, NULL, coney_last_error_details()->status);
        coney_message_unref(request);
    }
    if (count > 0)
        coney_request_cancel(requests[0]);
    for (int i = 0; i < count; i++) {
        if (!requests[i])
            continue;
        coney_status status = coney_request_wait(requests[i], TIMEOUT_MS + MARGIN_MS);
        if (!coney_request_is_done(requests[i]))
            account_surprise("a request outlasted its deadline");
        end_request(numbers[i], coney_request_reply(requests[i]), status);
        coney_request_free(requests[i]);
    }
}

static void ask_once(caller how)
{
    if (how == BY_HANDLE) {
        ask_with_handles();
        return;
    }
    int number = begin_request();
    if (number < 0)
        return;
    if (how == BY_CALLBACK)
        ask_with_callback(number);
    else
        ask_and_wait(how == SYNC_FIXED ? fixed : direct, number);
}

static void *run_caller(void *user)
{
    while (atomic_load(&asking)) {
        ask_once((caller)(intptr_t)user);
        sleep_ms(TICK_MS);
    }
    return NULL;
}

/* ---- all of it ---- */

static coney_status make_topology(coney_connection_factory *factory)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = REQUESTS, .kind = CONEY_CLASSIC});
    coney_topology_add_queue(topology, &(coney_queue){.name = REPLIES, .kind = CONEY_CLASSIC});
    coney_status status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    return status == CONEY_OK ? coney_admin_declare(admin) : status;
}

static coney_status make_server(coney_connection_factory *factory)
{
    coney_status status = coney_container_new(&server, factory, NULL);
    if (status == CONEY_OK)
        status = coney_container_listen(
            server, &(coney_listener){.queue = REQUESTS, .on_message = serve, .concurrency = 2, .prefetch = 50});
    return status == CONEY_OK ? coney_container_start(server) : status;
}

static bool start_callers(void)
{
    for (intptr_t i = 0; i < CALLERS; i++) {
        if (pthread_create(&threads[i], NULL, run_caller, (void *)i) != 0)
            return complain("caller thread");
        threads_started++;
    }
    return true;
}

bool requests_start(coney_connection_factory *factory, int64_t minutes)
{
    most = (int)minutes * PER_MINUTE;
    handled = calloc((size_t)most, 1);
    over = calloc((size_t)most, 1);
    coney_template_options options = {.routing_key = REQUESTS};
    bool done = handled && over && make_topology(factory) == CONEY_OK && make_server(factory) == CONEY_OK &&
                coney_template_new(&direct, factory, &options) == CONEY_OK;
    options.rpc.reply_queue = REPLIES;
    done = done && coney_template_new(&fixed, factory, &options) == CONEY_OK;
    return done ? start_callers() : complain("requests");
}

static void stop_callers(void)
{
    atomic_store(&asking, false);
    while (threads_started > 0)
        pthread_join(threads[--threads_started], NULL);
}

static bool adds_up(coney_template *asker)
{
    coney_rpc_statistics now;
    if (coney_template_rpc_statistics(asker, &now) != CONEY_OK)
        return false;
    uint64_t ends = now.replied + now.remote_errors + now.timed_out + now.returned + now.nacked + now.lost +
                    now.cancelled + now.closed + now.failed;
    if (now.sent == ends && now.in_flight == 0)
        return true;
    fprintf(stderr, "chaos: %" PRIu64 " requests were sent, %" PRIu64 " have ended, %" PRIu64 " are in flight\n",
            now.sent, ends, now.in_flight);
    return false;
}

bool requests_finish(void)
{
    stop_callers();
    for (int64_t end = cny_now_ms() + END_MS; atomic_load(&ended) < atomic_load(&begun) && cny_now_ms() < end;)
        sleep_ms(20);
    if (atomic_load(&ended) != atomic_load(&begun))
        account_surprise("a request never ended");
    bool direct_adds_up = adds_up(direct);
    return adds_up(fixed) && direct_adds_up && atomic_load(&ended) == atomic_load(&begun);
}

void requests_free(void)
{
    stop_callers();
    coney_template_free(direct);
    coney_template_free(fixed);
    coney_container_free(server);
    coney_admin_free(admin);
    free(handled);
    free(over);
}

void requests_print(void)
{
    printf("  requests    %d, of which %d have ended:", atomic_load(&begun), atomic_load(&ended));
    for (int i = 0; i < STATUSES; i++) {
        long long count = atomic_load(&by_status[i]);
        if (count > 0)
            printf(" %s %lld", coney_status_name((coney_status)i), count);
    }
    putchar('\n');
}
