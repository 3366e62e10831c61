/* SPDX-License-Identifier: MIT */
/* Why a shop uses messaging, in three acts: everybody hears of every payment; a service dies and
 * nobody else notices; a burst meets a slow service and payment is not slowed down.
 *
 * Runs payment, orders, warehouse and notify as processes against the broker of CONEY_URI, and
 * counts at the end, order by order, whether anything was lost. Exits with 0 only if nothing was. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "cast.h"
#include "screen.h"

#define TICK_MS 20
#define ACT_TIMEOUT_MS 90000
#define OUTAGE_MS 1000

enum { ACT_1_PAYMENTS = 3000, ACT_2_PAYMENTS = 5000, ACT_3_PAYMENTS = 20000 };
enum { ALL_PAYMENTS = ACT_1_PAYMENTS + ACT_2_PAYMENTS + ACT_3_PAYMENTS };

struct act {
    const char *title;
    const char *subtitle;
    int64_t payments;
    const char *rate;                               /* for payment; "0": as fast as it can */
    bool (*direct)(struct cast *cast, int64_t now); /* what befalls the cast, every tick; may be NULL */
};

static int64_t progress(const struct actor *actor)
{
    return actor->tally.distinct - actor->handled_before;
}

static int64_t per_second(int64_t count, int64_t ms)
{
    return ms > 0 ? count * 1000 / ms : 0;
}

static void begin(struct actor *actor)
{
    actor->handled_before = actor->tally.distinct;
    actor->most_waiting = 0;
    actor->done_ms = -1;
}

static bool start_payment(struct cast *cast, const struct act *act)
{
    char count[24];
    char first[24];
    snprintf(count, sizeof count, "%" PRId64, act->payments);
    snprintf(first, sizeof first, "%" PRId64, cast->payment.tally.distinct + 1);
    const char *const arguments[] = {"--count", count, "--first", first, "--rate", act->rate, NULL};
    return cast_start(&cast->payment, arguments);
}

static const char *note(const struct actor *service)
{
    return service->away ? "killed" : service->consuming ? "" : "starting";
}

static void show(const struct cast *cast, const struct act *act, int64_t elapsed_ms, bool last)
{
    const struct actor *payment = &cast->payment;
    int64_t paying_ms = payment->done_ms >= 0 ? payment->done_ms : elapsed_ms;
    char rate[40];
    snprintf(rate, sizeof rate, "%s/s", screen_number(per_second(progress(payment), paying_ms)).text);

    struct screen_row rows[1 + SERVICES] = {
        {.name = "payment", .verb = "paid", .done = progress(payment), .waiting = -1, .note = rate},
    };
    for (int i = 0; i < SERVICES; i++) {
        const struct actor *service = &cast->services[i];
        rows[1 + i] = (struct screen_row){
            .name = service->name,
            .verb = "handled",
            .done = progress(service),
            .waiting = service->waiting,
            .note = note(service),
            .alarm = service->away,
        };
    }
    for (int i = 0; i < 1 + SERVICES; i++)
        rows[i].total = act->payments;
    screen_show(rows, 1 + SERVICES, elapsed_ms, last);
}

static bool is_done(struct actor *actor, const struct act *act, int64_t elapsed_ms)
{
    if (actor->done_ms < 0 && progress(actor) >= act->payments)
        actor->done_ms = elapsed_ms;
    return actor->done_ms >= 0;
}

static bool all_done(struct cast *cast, const struct act *act, int64_t elapsed_ms)
{
    bool done = is_done(&cast->payment, act, elapsed_ms) && process_succeeded(&cast->payment.process);
    for (int i = 0; i < SERVICES; i++)
        done = is_done(&cast->services[i], act, elapsed_ms) && done;
    return done;
}

static void quote_payment(const struct cast *cast)
{
    char line[256];
    process_last_line(&cast->payment.process, line, sizeof line);
    printf("  payment: %s\n", line);
}

/* Until every service has handled every payment. */
static bool play(struct cast *cast, const struct act *act)
{
    screen_title(act->title, act->subtitle);
    begin(&cast->payment);
    for (int i = 0; i < SERVICES; i++)
        begin(&cast->services[i]);

    int64_t start_ms = now_ms();
    if (!start_payment(cast, act))
        return false;
    for (;;) {
        if (!cast_wait(cast, TICK_MS) || !cast_observe(cast))
            return false;
        int64_t elapsed_ms = now_ms() - start_ms;
        if (act->direct && !act->direct(cast, elapsed_ms))
            return false;
        bool done = all_done(cast, act, elapsed_ms);
        show(cast, act, elapsed_ms, done);
        if (done) {
            quote_payment(cast);
            return true;
        }
        if (elapsed_ms > ACT_TIMEOUT_MS) {
            fprintf(stderr, "not everything was handled within %d s\n", ACT_TIMEOUT_MS / 1000);
            return false;
        }
    }
}

static bool everybody_hears(struct cast *cast)
{
    static const struct act act = {
        .title = "Act 1: everybody hears of every payment",
        .subtitle = "Payment publishes order.paid. Three services listen, each with a queue of its own.",
        .payments = ACT_1_PAYMENTS,
        .rate = "1500",
    };
    static const char *const no_arguments[] = {NULL};
    for (int i = 0; i < SERVICES; i++) {
        if (!cast_start(&cast->services[i], no_arguments))
            return false;
    }
    return cast_await_services(cast) && play(cast, &act);
}

/* When things happened to the warehouse in act 2, in ms; 0: not yet. */
static struct outage {
    int64_t killed;
    int64_t restarted;
    int64_t back;      /* consuming again */
    int64_t caught_up; /* nothing waiting any more */
} outage;

static bool kill_warehouse(struct cast *cast, int64_t now)
{
    static const char *const no_arguments[] = {NULL};
    struct actor *warehouse = &cast->services[WAREHOUSE];
    if (!outage.killed && progress(&cast->payment) > ACT_2_PAYMENTS / 4) {
        warehouse->away = true;
        process_kill(&warehouse->process);
        outage.killed = now;
    }
    if (outage.restarted && !outage.back && warehouse->consuming)
        outage.back = now;
    if (outage.back && !outage.caught_up && warehouse->waiting == 0)
        outage.caught_up = now;
    if (outage.killed && !outage.restarted && now - outage.killed > OUTAGE_MS) {
        outage.restarted = now;
        return cast_start(warehouse, no_arguments);
    }
    return true;
}

static bool a_service_dies(struct cast *cast)
{
    static const struct act act = {
        .title = "Act 2: the warehouse is killed and comes back",
        .subtitle = "SIGKILL in mid-stream. Its queue keeps what it misses; nobody else notices.",
        .payments = ACT_2_PAYMENTS,
        .rate = "1500",
        .direct = kill_warehouse,
    };
    if (!play(cast, &act))
        return false;
    const struct actor *services = cast->services;
    printf("  warehouse: away for %.1f s, %s orders waited, caught up %.1f s after its return\n",
           (double)(outage.back - outage.killed) / 1000, screen_number(services[WAREHOUSE].most_waiting).text,
           (double)(outage.caught_up - outage.back) / 1000);
    printf("  orders and notify: never more than %s and %s waiting\n",
           screen_number(services[ORDERS].most_waiting).text, screen_number(services[NOTIFY].most_waiting).text);
    return true;
}

static bool a_burst_comes(struct cast *cast)
{
    static const struct act act = {
        .title = "Act 3: a burst meets a slow service",
        .subtitle = "Writing to a customer takes notify 2 ms now. The queue takes the peak, not payment.",
        .payments = ACT_3_PAYMENTS,
        .rate = "0",
    };
    static const char *const slow[] = {"--delay-ms", "2", NULL};
    struct actor *notify = &cast->services[NOTIFY];
    if (!cast_stop(notify) || !cast_start(notify, slow) || !cast_await_services(cast) || !play(cast, &act))
        return false;
    printf("  done: payment after %.1f s (%s/s), notify after %.1f s (%s/s); its queue held up to %s orders\n",
           (double)cast->payment.done_ms / 1000, screen_number(per_second(act.payments, cast->payment.done_ms)).text,
           (double)notify->done_ms / 1000, screen_number(per_second(act.payments, notify->done_ms)).text,
           screen_number(notify->most_waiting).text);
    return true;
}

static bool stop_services(struct cast *cast)
{
    bool stopped = true;
    for (int i = 0; i < SERVICES; i++)
        stopped = cast_stop(&cast->services[i]) && stopped;
    return stopped && cast_observe(cast);
}

/* Returns how many confirmed payments were not handled by a service, of all services together. */
static int64_t print_table(const struct cast *cast)
{
    const struct tally *paid = &cast->payment.tally;
    int64_t lost = 0;
    printf("\n  %-10s %10s %10s %12s %10s\n", "service", "sent", "handled", "duplicates", "lost");
    for (int i = 0; i < SERVICES; i++) {
        const struct tally *handled = &cast->services[i].tally;
        int64_t missing = tally_missing(paid, handled);
        printf("  %-10s %10s %10s %12s %10s\n", cast->services[i].name, screen_number(paid->distinct).text,
               screen_number(handled->distinct).text, screen_number(handled->duplicates).text,
               screen_number(missing).text);
        lost += missing;
    }
    printf("\nlost %s\n", screen_number(lost).text);
    return lost;
}

/* Whether all was played and nothing lost. */
static bool perform(struct cast *cast)
{
    bool played = everybody_hears(cast) && a_service_dies(cast) && a_burst_comes(cast) && stop_services(cast);
    if (cast->interrupted) {
        printf("\ninterrupted\n");
        return false;
    }
    if (cast->payment.tally.distinct > 0 && print_table(cast) > 0)
        played = false;
    if (!played)
        printf("failed: ledgers and logs are in %s\n", cast->directory);
    return played;
}

int main(void)
{
    struct cast cast = {0};
    signal(SIGPIPE, SIG_IGN); /* who stops reading what we print must not leave us half way */
    screen_init();
    bool ready = cast_init(&cast, ALL_PAYMENTS);
    bool good = ready && perform(&cast);
    cast_free(&cast, ready && !good && !cast.interrupted);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
