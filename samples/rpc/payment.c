/* SPDX-License-Identifier: MIT */
/* Payments need a warehouse and a notifier. Three ways to have them do their part, while the warehouse is killed and
 * then slow, and what each way does to whoever pays:
 *
 *   rpc [URI]
 *
 *   plain call    asks both services, one after another, and waits as long as a patient HTTP client does
 *   guarded call  the same, with a deadline that fits and a circuit that stops asking a service that does not answer
 *   event         publishes "paid", and waits for nobody
 *
 * Exits with 0 if guarded calls hold their callers for less time, and no event is lost. */
#include "names.h"
#include "services.h"

#include <coney/coney.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAUSE_MS = 20, MOST_PAYMENTS = 2000, PATIENT_MS = 2000, DEADLINE_MS = 200, LATE_MS = 1000, CATCH_UP_MS = 20000 };

static coney_connection_factory *factory;
static coney_admin *admin;

/* ---- one payment, three ways ---- */

static coney_status ask(coney_template *caller, const char *service)
{
    char queue[64];
    coney_message *request, *reply;
    snprintf(queue, sizeof queue, REQUESTS, service);
    coney_status status = coney_message_new(&request, "paid", 4, NULL);
    if (status != CONEY_OK)
        return status;
    status = coney_template_send_and_receive(caller, &reply, queue, request, NULL);
    coney_message_unref(request);
    coney_message_unref(reply);
    return status;
}

static coney_status pay_by_calls(coney_template *caller)
{
    coney_status status = ask(caller, "warehouse");
    return status == CONEY_OK ? ask(caller, "notify") : status;
}

static coney_status pay_by_event(coney_template *caller)
{
    coney_message *event;
    char body[32];
    int size = snprintf(body, sizeof body, "%lld", (long long)now_ms());
    coney_status status = coney_message_new(&event, body, (size_t)size, NULL);
    if (status != CONEY_OK)
        return status;
    status = coney_template_send(caller, "", event, &(coney_send_options){.exchange = PAID});
    coney_message_unref(event);
    return status;
}

/* ---- the account of one way ---- */

typedef struct way {
    const char *name;
    coney_status (*pay)(coney_template *caller);
    coney_template_options options;
    int payments, failed, refused;
    int held_ms[MOST_PAYMENTS];
    int lost;
} way;

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int held_ms(const way *one, int percent)
{
    int at = one->payments * percent / 100;
    return one->payments > 0 ? one->held_ms[at < one->payments ? at : one->payments - 1] : 0;
}

static atomic_int done, later; /* parts of events that a service has done, and how many of them after LATE_MS */

static coney_outcome count_done(coney_delivery *delivery, void *user)
{
    char paid[32];
    const coney_message *event = coney_delivery_message(delivery);
    (void)user;
    snprintf(paid, sizeof paid, "%.*s", (int)coney_message_size(event), (const char *)coney_message_body(event));
    atomic_fetch_add(&later, now_ms() - atoll(paid) > LATE_MS);
    atomic_fetch_add(&done, 1);
    return CONEY_ACK;
}

static void pay_until(way *one, coney_template *caller, int64_t end)
{
    while (now_ms() < end && one->payments < MOST_PAYMENTS) {
        int64_t began = now_ms();
        coney_status status = one->pay(caller);
        one->held_ms[one->payments++] = (int)(now_ms() - began);
        one->failed += status != CONEY_OK;
        one->refused += status == CONEY_E_CIRCUIT_OPEN;
        sleep_ms(PAUSE_MS);
    }
}

/* Both services report each event. */
static void wait_for_events(way *one)
{
    int wanted = 2 * (one->payments - one->failed);
    for (int64_t end = now_ms() + CATCH_UP_MS; atomic_load(&done) < wanted && now_ms() < end;)
        sleep_ms(20);
    one->lost = (wanted - atomic_load(&done) + 1) / 2;
}

static bool run(way *one)
{
    coney_template *caller;
    if (coney_template_new(&caller, factory, &one->options) != CONEY_OK)
        return false;
    atomic_store(&done, 0);
    atomic_store(&later, 0);
    story_begin();
    pay_until(one, caller, now_ms() + STORY_MS);
    story_end();
    if (one->pay == pay_by_event)
        wait_for_events(one);
    else
        one->lost = one->failed; /* nobody pays again */
    coney_template_free(caller);
    qsort(one->held_ms, (size_t)one->payments, sizeof(int), by_size);
    return true;
}

/* ---- all of it ---- */

static coney_status declare(coney_topology *topology)
{
    static const char *const services[] = {"warehouse", "notify"};
    char queue[64];
    coney_topology_add_exchange(topology, &(coney_exchange){.name = PAID, .type = CONEY_FANOUT});
    coney_topology_add_queue(topology, &(coney_queue){.name = DONE});
    for (int i = 0; i < 2; i++) {
        snprintf(queue, sizeof queue, REQUESTS, services[i]);
        coney_topology_add_queue(topology, &(coney_queue){.name = queue});
        snprintf(queue, sizeof queue, EVENTS, services[i]);
        coney_topology_add_queue(topology, &(coney_queue){.name = queue});
        coney_topology_bind(topology, PAID, queue, "");
    }
    coney_status status = coney_admin_new(&admin, factory, &(coney_admin_options){.topology = topology});
    return status == CONEY_OK ? coney_admin_declare(admin) : status;
}

static bool begin(coney_container **container, const char *uri)
{
    coney_topology *topology = coney_topology_new();
    bool done_so_far =
        coney_connection_factory_new(&factory, uri, NULL) == CONEY_OK && declare(topology) == CONEY_OK &&
        coney_container_new(container, factory, NULL) == CONEY_OK &&
        coney_container_listen(*container, &(coney_listener){.queue = DONE, .on_message = count_done}) == CONEY_OK &&
        coney_container_start(*container) == CONEY_OK;
    coney_topology_free(topology);
    return done_so_far;
}

static double held_s(const way *one)
{
    double sum = 0;
    for (int i = 0; i < one->payments; i++)
        sum += one->held_ms[i];
    return sum / 1000;
}

static void print(const way *one)
{
    printf("%-13s %8d %7d %7d %7d %7d %7d %7d %7.1f %7d %7d\n", one->name, one->payments, one->payments - one->failed,
           one->failed - one->refused, one->refused, held_ms(one, 50), held_ms(one, 99), held_ms(one, 100), held_s(one),
           atomic_load(&later), one->lost);
}

static bool claim(bool holds, const char *words)
{
    if (!holds)
        printf("this does not hold: %s\n", words);
    return holds;
}

static bool claims_hold(const way ways[3])
{
    bool all =
        claim(held_ms(&ways[1], 100) < held_ms(&ways[0], 100) / 2, "a deadline that fits halves the longest wait");
    all = claim(held_s(&ways[1]) < held_s(&ways[0]), "deadline and circuit hold their callers for less time") && all;
    all = claim(ways[1].refused > 0, "the circuit refuses at once") && all;
    return claim(ways[2].failed == 0 && ways[2].lost == 0 && atomic_load(&later) > 0,
                 "no event fails or is lost, and some are done later") &&
           all;
}

int main(int count, char **arguments)
{
    static way ways[] = {
        {.name = "plain call", .pay = pay_by_calls, .options.rpc.timeout_ms = PATIENT_MS},
        {.name = "guarded call",
         .pay = pay_by_calls,
         .options.rpc = {.timeout_ms = DEADLINE_MS, .circuit = {.max_failures = 3, .open_ms = 500}}},
        {.name = "event", .pay = pay_by_event},
    };
    coney_container *container = NULL;
    const char *uri = count > 1 ? arguments[1] : "amqp://guest:guest@localhost";
    coney_log_set_level(CONEY_LOG_ERROR);
    bool works = begin(&container, uri) && services_start(arguments[0], uri);
    if (!works)
        fprintf(stderr, "rpc: %s\n", coney_last_error());
    printf("the warehouse is fine for %.1f s, dead for %.1f s, slow (%d ms) for %.1f s, and fine again\n\n",
           FINE_MS / 1e3, DEAD_MS / 1e3, SLOWNESS_MS, SLOW_MS / 1e3);
    printf("%-13s %8s %7s %7s %7s %7s %7s %7s %7s %7s %7s\n", "", "payments", "done", "failed", "refused", "p50 ms",
           "p99 ms", "max ms", "held s", "later", "lost");
    for (int i = 0; i < 3 && works; i++) {
        works = run(&ways[i]);
        print(&ways[i]);
    }
    services_stop();
    coney_container_free(container);
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    return works && claims_hold(ways) ? 0 : 1;
}
