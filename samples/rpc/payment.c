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
 * A thread pays, and the main thread has things happen to the warehouse. Exits with 0 if guarded calls hold their
 * callers for less time, and no event is lost. */
#include "broker.h"
#include "names.h"
#include "services.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAUSE_MS = 20, MOST_PAYMENTS = 2000, PATIENT_MS = 2000, DEADLINE_MS = 200, LATE_MS = 1000, CATCH_UP_MS = 20000 };

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

static coney_status pay_by_calls(coney_template *caller, int number)
{
    (void)number;
    coney_status status = ask(caller, "warehouse");
    return status == CONEY_OK ? ask(caller, "notify") : status;
}

static coney_status pay_by_event(coney_template *caller, int number)
{
    coney_message *event;
    char body[48];
    int size = snprintf(body, sizeof body, "%d %" PRId64, number, now_ms());
    coney_status status = coney_message_new(&event, body, (size_t)size, NULL);
    if (status != CONEY_OK)
        return status;
    status = coney_template_send(caller, "", event, &(coney_send_options){.exchange = PAID});
    coney_message_unref(event);
    return status;
}

/* ---- what the services report ---- */

/* A service that was killed may report a payment twice, so payments are told apart: no duplicate hides a loss. */
enum { BY_WAREHOUSE = 1, BY_NOTIFY = 2, BY_BOTH = BY_WAREHOUSE | BY_NOTIFY };
static int parts[MOST_PAYMENTS];   /* who has done its part; for the listener alone */
static atomic_int complete, later; /* payments that both have done, and how many of them after LATE_MS */

static coney_outcome count_done(coney_delivery *delivery, void *user)
{
    char body[96], service[32];
    int number;
    int64_t paid_ms;
    const coney_message *report = coney_delivery_message(delivery);
    (void)user;
    snprintf(body, sizeof body, "%.*s", (int)coney_message_size(report), (const char *)coney_message_body(report));
    if (sscanf(body, "%31s %d %" SCNd64, service, &number, &paid_ms) != 3 || number < 0 || number >= MOST_PAYMENTS)
        return CONEY_REJECT;
    int before = parts[number];
    parts[number] |= strcmp(service, "warehouse") == 0 ? BY_WAREHOUSE : BY_NOTIFY;
    if (before != BY_BOTH && parts[number] == BY_BOTH) {
        atomic_fetch_add(&later, now_ms() - paid_ms > LATE_MS);
        atomic_fetch_add(&complete, 1);
    }
    return CONEY_ACK;
}

/* ---- how long callers were held ---- */

typedef struct times {
    int count;
    int ms[MOST_PAYMENTS];
} times;

static void add_time(times *held, int64_t ms)
{
    held->ms[held->count++] = (int)ms;
}

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void sort(times *held)
{
    qsort(held->ms, (size_t)held->count, sizeof(int), by_size);
}

/* Of sorted times. */
static int percentile(const times *held, int percent)
{
    int at = held->count * percent / 100;
    return held->count > 0 ? held->ms[at < held->count ? at : held->count - 1] : 0;
}

static double total_s(const times *held)
{
    double sum = 0;
    for (int i = 0; i < held->count; i++)
        sum += held->ms[i];
    return sum / 1000;
}

/* ---- the account of one way ---- */

typedef struct way {
    const char *name;
    coney_status (*pay)(coney_template *caller, int number);
    coney_template_options options;
    coney_template *caller;
    int64_t begin_ms;
    int failed, refused, lost; /* refused ones have failed, too */
    times held, held_dead;     /* of all payments, and of those that began while the warehouse was dead */
} way;

static bool is_dead_at(const way *one, int64_t ms)
{
    int64_t dead_ms = one->begin_ms + FINE_MS;
    return ms >= dead_ms && ms < dead_ms + DEAD_MS;
}

static void *pay_all(void *user)
{
    way *one = user;
    for (int64_t now; (now = now_ms()) < one->begin_ms + STORY_MS && one->held.count < MOST_PAYMENTS;) {
        coney_status status = one->pay(one->caller, one->held.count);
        int64_t held_ms = now_ms() - now;
        add_time(&one->held, held_ms);
        if (is_dead_at(one, now))
            add_time(&one->held_dead, held_ms);
        one->failed += status != CONEY_OK;
        one->refused += status == CONEY_E_CIRCUIT_OPEN;
        sleep_ms(PAUSE_MS);
    }
    return NULL;
}

static void count_lost(way *one)
{
    one->lost = one->failed; /* nobody pays again */
    if (one->pay == pay_by_event) {
        for (int64_t end = now_ms() + CATCH_UP_MS; atomic_load(&complete) < one->held.count && now_ms() < end;)
            sleep_ms(20);
        one->lost = one->held.count - atomic_load(&complete);
    }
}

static bool run(way *one, coney_connection_factory *factory)
{
    pthread_t payer;
    if (coney_template_new(&one->caller, factory, &one->options) != CONEY_OK) {
        fprintf(stderr, "rpc: %s\n", coney_last_error());
        return false;
    }
    one->begin_ms = now_ms();
    bool told = pthread_create(&payer, NULL, pay_all, one) == 0;
    if (told) {
        told = services_tell_story(one->begin_ms);
        pthread_join(payer, NULL);
        count_lost(one);
    }
    coney_template_free(one->caller);
    sort(&one->held);
    sort(&one->held_dead);
    return told;
}

static void print(const way *one)
{
    const times *held = &one->held;
    printf("%-12s %8d %5d %6d %7d %6d %6d %6d %8d %6.1f %5d %4d\n", one->name, held->count, held->count - one->failed,
           one->failed - one->refused, one->refused, percentile(held, 50), percentile(held, 99), percentile(held, 100),
           percentile(&one->held_dead, 99), total_s(held), atomic_load(&later), one->lost);
}

/* ---- all of it ---- */

static bool run_all(way ways[3], coney_connection_factory *factory)
{
    bool works = true;
    printf("the warehouse is fine for %.1f s, dead for %.1f s, slow (%d ms) for %.1f s, and fine again\n\n",
           FINE_MS / 1e3, DEAD_MS / 1e3, SLOWNESS_MS, SLOW_MS / 1e3);
    printf("%-12s %8s %5s %6s %7s %6s %6s %6s %8s %6s %5s %4s\n", "", "payments", "done", "failed", "refused", "p50 ms",
           "p99 ms", "max ms", "dead p99", "held s", "later", "lost");
    for (int i = 0; i < 3 && works; i++) {
        works = run(&ways[i], factory);
        if (works)
            print(&ways[i]);
    }
    return works;
}

static bool claim(bool holds, const char *words)
{
    if (!holds)
        printf("this does not hold: %s\n", words);
    return holds;
}

static bool claims_hold(const way ways[3])
{
    int plain_ms = percentile(&ways[0].held_dead, 99), guarded_ms = percentile(&ways[1].held_dead, 99);
    bool all = claim(ways[0].failed > 0, "a plain call to a dead service fails, however patient its caller is");
    all = claim(ways[1].held_dead.count > 0 && guarded_ms < plain_ms / 2,
                "deadline and circuit hold callers of a dead service for less than half of the time (p99)") &&
          all;
    all = claim(ways[1].refused > 0, "the circuit refuses at once") && all;
    all = claim(ways[2].failed == 0 && ways[2].lost == 0, "no event fails or is lost") && all;
    return claim(atomic_load(&later) > 0, "what a dead service has missed is done later") && all;
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
    coney_connection_factory *factory = NULL;
    coney_container *container = NULL;
    const char *uri = count > 1 ? arguments[1] : getenv("CONEY_URI");
    uri = uri ? uri : "amqp://guest:guest@localhost";
    coney_log_set_level(CONEY_LOG_ERROR);
    bool works =
        broker_open(&factory, uri) && coney_container_new(&container, factory, NULL) == CONEY_OK &&
        coney_container_listen(container, &(coney_listener){.queue = DONE, .on_message = count_done}) == CONEY_OK &&
        coney_container_start(container) == CONEY_OK;
    if (!works)
        fprintf(stderr, "rpc: %s\n", coney_last_error());
    works = works && services_start(uri) && broker_wait_for_services() && run_all(ways, factory) && claims_hold(ways);
    services_stop();
    coney_container_free(container);
    broker_close(factory);
    return works ? EXIT_SUCCESS : EXIT_FAILURE;
}
