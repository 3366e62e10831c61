/* SPDX-License-Identifier: MIT */
#include "chaos/houses.h"

#include <inttypes.h>
#include <stdio.h>

enum { LEAST_LIFE_MS = 200, MOST_LIFE_MS = 5000, MOST_REST_MS = 300, MOST_PATIENCE_MS = 4000, LOOK_MS = 50 };

static atomic_bool calm;

static bool complain(const char *what)
{
    fprintf(stderr, "chaos: %s: %s\n", what, coney_last_error());
    return false;
}

coney_status house_build(house *this, coney_connection_factory *factory)
{
    this->options.resubscribe_interval_ms = 500;
    this->options.start_timeout_ms = 3000;
    return coney_container_new(&this->container, factory, &this->options);
}

static void note_longest(atomic_int_least64_t *longest_ms, int64_t ms)
{
    if (ms > atomic_load(longest_ms))
        atomic_store(longest_ms, ms);
}

/* A handler may outlive it. */
static void stop(house *this)
{
    coney_stop_mode mode = (coney_stop_mode)dice_between(&this->chance, CONEY_STOP_DRAIN, CONEY_STOP_NOW);
    int patience_ms = dice_between(&this->chance, 1, MOST_PATIENCE_MS);
    int64_t deadline = cny_now_ms() + patience_ms;
    coney_status status = coney_container_stop_with(this->container, mode, patience_ms);
    note_longest(&this->longest_overrun_ms, cny_now_ms() - deadline);
    atomic_fetch_add(&this->stops[mode], 1);
    if (status == CONEY_E_TIMEOUT)
        atomic_fetch_add(&this->late_stops, 1);
    else if (status != CONEY_OK)
        account_surprise(coney_last_error());
}

static bool is_defect(coney_status status)
{
    return status == CONEY_E_INVALID || status == CONEY_E_NO_MEMORY || status == CONEY_E_SYSTEM;
}

/* Most times it runs, and says so. */
static bool start(house *this)
{
    coney_status status = coney_container_start(this->container);
    if (status == CONEY_OK)
        atomic_fetch_add(&this->starts, 1);
    else if (status != CONEY_E_STATE)
        atomic_fetch_add(&this->failed_starts, 1);
    if (is_defect(status))
        account_surprise(coney_last_error());
    return status == CONEY_OK;
}

static bool is_running(house *this)
{
    coney_health health;
    return coney_container_health(this->container, &health) == CONEY_OK && health.ready;
}

static void *keep(void *user)
{
    house *this = user;
    int64_t now, up_ms = cny_now_ms(), stop_ms = up_ms + MOST_LIFE_MS;
    while (!atomic_load(&this->closing)) {
        start(this);
        now = cny_now_ms();
        if (is_running(this))
            up_ms = now;
        note_longest(&this->longest_down_ms, now - up_ms);
        if (now >= stop_ms && !atomic_load(&calm)) {
            stop(this);
            sleep_ms(dice_between(&this->chance, 0, MOST_REST_MS));
            stop_ms = cny_now_ms() + dice_between(&this->chance, LEAST_LIFE_MS, MOST_LIFE_MS);
        }
        sleep_ms(LOOK_MS);
    }
    return NULL;
}

bool house_open(house *this, uint64_t seed)
{
    atomic_store(&this->chance.state, seed);
    if (!start(this))
        return complain("start");
    this->has_keeper = pthread_create(&this->keeper, NULL, keep, this) == 0;
    return this->has_keeper;
}

void house_close(house *this)
{
    atomic_store(&this->closing, true);
    if (this->has_keeper)
        pthread_join(this->keeper, NULL);
    coney_container_free(this->container);
}

void houses_calm_down(void)
{
    atomic_store(&calm, true);
}

/* ---- what is told ---- */

static void add_progress(const coney_listener_info *info, void *user)
{
    *(int64_t *)user += (int64_t)info->statistics.in_progress;
}

int64_t house_in_progress(house *this)
{
    int64_t sum = 0;
    coney_container_list(this->container, add_progress, &sum);
    return sum;
}

static void print_listener(FILE *to, const coney_listener_info *info)
{
    static const char *const states[] = {"stopped", "starting", "running", "stopping"};
    const coney_listener_statistics *counts = &info->statistics;
    fprintf(to, "    %-20s %s, %d of %d consumers; received %" PRIu64 " acknowledged %" PRIu64 " rejected %" PRIu64,
            info->id, states[info->state], info->consumers, info->wanted, counts->received, counts->acknowledged,
            counts->rejected);
    fprintf(to, " requeued %" PRIu64 " retried %" PRIu64 " republished %" PRIu64 " recovered %" PRIu64,
            counts->requeued, counts->retried, counts->republished, counts->exhausted);
    fprintf(to, " stale %" PRIu64 " in progress %" PRIu64 "\n", counts->stale, counts->in_progress);
}

static void print_one(const coney_listener_info *info, void *user)
{
    print_listener(user, info);
}

void house_print(house *this)
{
    printf("  container %s: stopped by its keeper %" PRId64 " times to drain, %" PRId64 " to finish, %" PRId64
           " at once (%" PRId64 " outlived by handlers, %" PRId64 " ms late at worst);\n    started %" PRId64
           " times, %" PRId64 " in vain; not ready for %.2f s at worst\n",
           this->options.name, atomic_load(&this->stops[CONEY_STOP_DRAIN]),
           atomic_load(&this->stops[CONEY_STOP_FINISH]), atomic_load(&this->stops[CONEY_STOP_NOW]),
           atomic_load(&this->late_stops), atomic_load(&this->longest_overrun_ms), atomic_load(&this->starts),
           atomic_load(&this->failed_starts), (double)atomic_load(&this->longest_down_ms) / 1000);
    coney_container_list(this->container, print_one, stdout);
}

void house_print_state(house *this)
{
    coney_status status = coney_container_check(this->container);
    fprintf(stderr, "  container %s: %s%s%s\n", this->options.name, coney_status_name(status), status ? ": " : "",
            status ? coney_last_error() : "");
    coney_container_list(this->container, print_one, stderr);
}
