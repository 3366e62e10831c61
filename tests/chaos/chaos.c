/* SPDX-License-Identifier: MIT */
/* Breaks a broker and its network in every way it knows while messages pass, then counts: whatever
 * was confirmed must have been handled.
 *
 *   chaos [--minutes N] [--seed N]
 *
 * The seed decides about the faults and their order; what handlers do is drawn, too, but their threads share the dice.
 * Exit status: 0, 1 if messages were lost, 2 if the run says nothing about that, or broke another promise. */
#include "chaos/account.h"
#include "chaos/faults.h"
#include "chaos/listening.h"
#include "chaos/requests.h"
#include "chaos/traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { DEFAULT_MINUTES = 2, MOST_MINUTES = 24 * 60, MESSAGES_PER_MINUTE = 150000 };
enum { WARM_UP_MS = 2000, RECOVERY_DEADLINE_MS = 60000 };

typedef struct chaos_options {
    int64_t minutes;
    uint64_t seed;
} chaos_options;

static int64_t start_ms;
static int faults_so_far;
static int64_t longest_recovery_ms;

/* What the client had done when a fault began. */
typedef struct sighting {
    uint64_t times_opened;
    int64_t calls[PUBLISHED];
} sighting;

static sighting look(void)
{
    sighting seen = {.times_opened = traffic_times_opened(CONEY_CONSUMING)};
    for (int i = 0; i < PUBLISHED; i++)
        seen.calls[i] = account_handler_calls(i);
    return seen;
}

static bool all_handle(const sighting *since)
{
    bool all = true;
    for (int i = 0; i < PUBLISHED; i++)
        all &= account_handler_calls(i) > since->calls[i];
    return all;
}

/* Until all queues are consumed, on a new connection if the fault took the old one. -1: never. */
static int64_t await_recovery(const fault_draw *draw, const sighting *before)
{
    int64_t healed_ms = cny_now_ms();
    int64_t deadline = healed_ms + RECOVERY_DEADLINE_MS;
    while (faults_cut_connections(draw) && look().times_opened == before->times_opened) {
        if (cny_now_ms() > deadline)
            return -1;
        sleep_ms(2);
    }
    sighting now = look();
    while (!all_handle(&now)) {
        if (cny_now_ms() > deadline)
            return -1;
        sleep_ms(2);
    }
    return cny_now_ms() - healed_ms;
}

static bool report_recovery(const fault_draw *draw, const sighting *before)
{
    if (!draw->patient) {
        printf("the next fault follows at once\n");
        return true;
    }
    int64_t took_ms = await_recovery(draw, before);
    if (took_ms < 0) {
        printf("not consuming again after %d s\n", RECOVERY_DEADLINE_MS / 1000);
        fprintf(stderr, "chaos: the client does not recover\n");
        traffic_print_state();
        return false;
    }
    printf("consuming again after %5.2f s\n", (double)took_ms / 1000);
    if (took_ms > longest_recovery_ms)
        longest_recovery_ms = took_ms;
    return true;
}

static bool live_through(const fault_draw *draw)
{
    sleep_ms(draw->calm_ms);
    sighting before = look();
    int64_t began_ms = cny_now_ms();
    printf("%7.1f s  %-20s", (double)(began_ms - start_ms) / 1000, faults_name(draw));
    if (!faults_begin(draw))
        return false;
    sleep_ms(draw->hold_ms);
    if (!faults_end(draw))
        return false;
    printf("%6.2f s, ", (double)(cny_now_ms() - began_ms) / 1000);
    faults_so_far++;
    return report_recovery(draw, &before);
}

/* A quorum queue whose node is killed within a second of its declaration may never answer again: the broker's
 * fault, so the first of ours waits until all queues have carried messages for a while. */
static void warm_up(void)
{
    sleep_ms(WARM_UP_MS);
    sighting now = look();
    int64_t deadline = cny_now_ms() + RECOVERY_DEADLINE_MS;
    while (!all_handle(&now) && cny_now_ms() < deadline)
        sleep_ms(2);
}

static bool rage(int64_t minutes)
{
    bool going = true;
    warm_up();
    while (going && cny_now_ms() - start_ms < minutes * 60000) {
        fault_draw draw = faults_draw();
        going = live_through(&draw);
    }
    return going;
}

/* Quiet, because most faults would make it complain, unless CONEY_TEST_LOG is in the environment. */
static void log_line(coney_log_level level, const char *text, void *user)
{
    (void)user;
    fprintf(stderr, "[%9.3f %s] %s\n", (double)(cny_now_ms() - start_ms) / 1000, coney_log_level_name(level), text);
}

static int conclude(bool done)
{
    printf("\nafter %d faults\n", faults_so_far);
    int64_t lost = account_print();
    listening_print();
    requests_print();
    printf("  recoveries  %" PRIu64 " of the consuming connection, %" PRIu64 " of the publishing one\n",
           traffic_times_opened(CONEY_CONSUMING) - 1, traffic_times_opened(CONEY_PUBLISHING) - 1);
    printf("  longest time until consuming again, after a fault was over, %.2f s\n\n",
           (double)longest_recovery_ms / 1000);
    if (lost > 0 || !done)
        traffic_print_state();
    done = account_possible() && done;
    return lost > 0 ? 1 : done ? 0 : 2;
}

static bool read_number(const char *text, uint64_t most, uint64_t *number)
{
    char *end;
    *number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && *number <= most;
}

static bool read_options(int count, char **arguments, chaos_options *options)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *options = (chaos_options){.minutes = DEFAULT_MINUTES, .seed = (uint64_t)now.tv_nsec / 1000 % 1000000};
    for (int i = 1; i < count; i += 2) {
        uint64_t number = 0;
        bool known = i + 1 < count && read_number(arguments[i + 1], UINT64_MAX, &number);
        if (known && strcmp(arguments[i], "--seed") == 0)
            options->seed = number;
        else if (known && strcmp(arguments[i], "--minutes") == 0 && number > 0 && number <= MOST_MINUTES)
            options->minutes = (int64_t)number;
        else
            return false;
    }
    return true;
}

int main(int count, char **arguments)
{
    chaos_options options;
    setvbuf(stdout, NULL, _IONBF, 0); /* a line tells of its fault while it lasts */
    if (!read_options(count, arguments, &options)) {
        fprintf(stderr, "usage: chaos [--minutes N] [--seed N]\n");
        return 2;
    }
    const char *uri = faults_start();
    if (!uri || !account_open(options.minutes * MESSAGES_PER_MINUTE))
        return 2;
    printf("%" PRId64 " minutes of faults with --seed %" PRIu64 "\n", options.minutes, options.seed);
    faults_seed(options.seed);
    start_ms = cny_now_ms();
    coney_log_set_sink(log_line, NULL);
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF);
    int status = 2;
    if (traffic_start(uri, options.seed, options.minutes)) {
        bool done = rage(options.minutes);
        done = traffic_finish() && done;
        status = conclude(done);
    }
    traffic_free();
    faults_stop();
    account_print_last_line();
    account_close();
    return status;
}
