/* SPDX-License-Identifier: MIT */
/* Brings the cast on stage, watches it and sends it home.
 *
 * What a service has handled is read from its ledger, what waits for it is asked of the broker;
 * nobody takes part in the measuring, so nobody can spoil it by being killed. */
#include "cast.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shop.h"

#define START_TIMEOUT_MS 15000
#define STOP_TIMEOUT_MS 10000

int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static void stop_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGHUP);
}

bool cast_wait(struct cast *cast, int ms)
{
    sigset_t signals;
    stop_signals(&signals);
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    if (sigtimedwait(&signals, NULL, &time) > 0)
        cast->interrupted = true;
    return !cast->interrupted;
}

static bool broker_said_no(void)
{
    fprintf(stderr, "broker: %s\n", coney_last_error());
    return false;
}

static coney_status clean_broker(struct cast *cast)
{
    coney_status status = CONEY_OK;
    for (int i = 0; status == CONEY_OK && i < SERVICES; i++)
        status = coney_admin_delete_queue(cast->admin, cast->services[i].queue, NULL);
    if (status == CONEY_OK)
        status = coney_admin_delete_exchange(cast->admin, shop_events.name);
    return status;
}

/* For ledgers and logs; the children inherit where the ledgers go. */
static bool make_directory(struct cast *cast)
{
    const char *parent = getenv("TMPDIR");
    snprintf(cast->directory, sizeof cast->directory, "%s/coney-shop-XXXXXX", parent ? parent : "/tmp");
    if (mkdtemp(cast->directory))
        return setenv("SHOP_DIR", cast->directory, 1) == 0;
    perror(cast->directory);
    cast->directory[0] = '\0';
    return false;
}

static bool init_actor(struct actor *actor, const char *name, const char *queue, const char *directory, int64_t last_id)
{
    *actor = (struct actor){.name = name, .queue = queue};
    snprintf(actor->process.program, sizeof actor->process.program, "shop-%s", name);
    snprintf(actor->process.log, sizeof actor->process.log, "%s/%s.log", directory, name);
    if (tally_init(&actor->tally, directory, name, last_id))
        return true;
    perror(name);
    return false;
}

static bool init_actors(struct cast *cast, int64_t last_id)
{
    struct actor *services = cast->services;
    return init_actor(&cast->payment, "payment", NULL, cast->directory, last_id) &&
           init_actor(&services[ORDERS], "orders", "shop.orders", cast->directory, last_id) &&
           init_actor(&services[WAREHOUSE], "warehouse", "shop.warehouse", cast->directory, last_id) &&
           init_actor(&services[NOTIFY], "notify", "shop.notify", cast->directory, last_id);
}

static bool connect_to_broker(struct cast *cast)
{
    if (coney_connection_factory_new(&cast->factory, shop_uri(), NULL) == CONEY_OK &&
        coney_admin_new(&cast->admin, cast->factory, NULL) == CONEY_OK && clean_broker(cast) == CONEY_OK)
        return true;
    broker_said_no();
    fprintf(stderr, "CONEY_URI says which broker to use, amqp://user:password@host:port\n");
    coney_admin_free(cast->admin); /* without a broker there is nothing to clean at the end either */
    cast->admin = NULL;
    return false;
}

bool cast_init(struct cast *cast, int64_t last_id)
{
    sigset_t signals; /* blocked before there are threads, so that only cast_wait() sees them */
    stop_signals(&signals);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    return make_directory(cast) && init_actors(cast, last_id) && connect_to_broker(cast);
}

static void remove_directory(const char *directory)
{
    DIR *entries = opendir(directory);
    for (struct dirent *entry; entries && (entry = readdir(entries));)
        unlinkat(dirfd(entries), entry->d_name, 0); /* "." and ".." refuse */
    if (entries)
        closedir(entries);
    rmdir(directory);
}

void cast_free(struct cast *cast, bool keep_directory)
{
    process_kill(&cast->payment.process);
    tally_free(&cast->payment.tally);
    for (int i = 0; i < SERVICES; i++) {
        process_kill(&cast->services[i].process);
        tally_free(&cast->services[i].tally);
    }
    if (cast->admin)
        clean_broker(cast); /* as far as the broker is still there; the next run begins with it again */
    coney_admin_free(cast->admin);
    coney_connection_factory_free(cast->factory);
    if (*cast->directory && !keep_directory)
        remove_directory(cast->directory);
}

bool cast_start(struct actor *actor, const char *const arguments[])
{
    actor->away = false;
    return process_start(&actor->process, arguments);
}

static bool failed(const struct actor *actor, const char *how)
{
    fprintf(stderr, "%s %s\n", actor->name, how);
    process_show_log(&actor->process);
    return false;
}

bool cast_stop(struct actor *actor)
{
    actor->away = true;
    return process_stop(&actor->process, STOP_TIMEOUT_MS) || failed(actor, "did not stop cleanly");
}

static bool observe_queue(struct cast *cast, struct actor *service)
{
    coney_queue_info info = {0};
    coney_status status = coney_admin_queue_info(cast->admin, service->queue, &info);
    if (status != CONEY_OK && status != CONEY_E_NOT_FOUND) /* not there: not declared yet */
        return broker_said_no();
    service->waiting = info.message_count;
    service->consuming = info.consumer_count > 0;
    if (service->waiting > service->most_waiting)
        service->most_waiting = service->waiting;
    return true;
}

bool cast_observe(struct cast *cast)
{
    for (int i = 0; i < SERVICES; i++) {
        struct actor *service = &cast->services[i];
        if (!process_running(&service->process) && !service->away)
            return failed(service, "ended by itself");
        if (!observe_queue(cast, service))
            return false;
        tally_update(&service->tally);
    }
    if (!process_running(&cast->payment.process) && !process_succeeded(&cast->payment.process))
        return failed(&cast->payment, "failed");
    tally_update(&cast->payment.tally);
    return true;
}

bool cast_await_services(struct cast *cast)
{
    int64_t deadline_ms = now_ms() + START_TIMEOUT_MS;
    for (;;) {
        if (!cast_observe(cast))
            return false;
        struct actor *missing = NULL;
        for (int i = 0; i < SERVICES; i++) {
            if (!cast->services[i].consuming)
                missing = &cast->services[i];
        }
        if (!missing)
            return true;
        if (now_ms() > deadline_ms)
            return failed(missing, "does not consume");
        if (!cast_wait(cast, 20))
            return false;
    }
}
