/* SPDX-License-Identifier: MIT */
/* Sends confirmed messages as fast as the broker takes them and consumes them again, for minutes,
 * and watches resident memory: after the first quarter it must not grow. */
#include <coney/coney.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUEUE "coney.bench.memory"
#define ALLOWED_KB 1024 /* an allocator's, not a leak's: that would be megabytes within seconds */

typedef struct memory_run {
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_template *sender;
    coney_container *container;
    coney_message *message;
    atomic_long confirmed;
    atomic_long consumed;
} memory_run;

static bool complain(const char *what)
{
    fprintf(stderr, "bench_memory: %s: %s\n", what, coney_last_error());
    return false;
}

static coney_outcome consume(coney_delivery *delivery, void *user)
{
    memory_run *run = user;
    (void)delivery;
    atomic_fetch_add_explicit(&run->consumed, 1, memory_order_relaxed);
    return CONEY_ACK;
}

static void count(coney_message *message, const coney_error *error, void *user)
{
    memory_run *run = user;
    (void)message;
    if (!error)
        atomic_fetch_add_explicit(&run->confirmed, 1, memory_order_relaxed);
}

static bool prepare(memory_run *run)
{
    static const char body[100];
    const char *uri = getenv("CONEY_URI");
    bool done =
        coney_connection_factory_new(&run->factory, uri ? uri : "amqp://guest:guest@localhost", NULL) == CONEY_OK &&
        coney_admin_new(&run->admin, run->factory, NULL) == CONEY_OK &&
        coney_admin_declare_queue(run->admin, &(coney_queue){.name = QUEUE, .max_length = 10000}, NULL) == CONEY_OK &&
        coney_template_new(&run->sender, run->factory, NULL) == CONEY_OK &&
        coney_container_new(&run->container, run->factory, NULL) == CONEY_OK &&
        coney_container_listen(run->container, &(coney_listener){.queue = QUEUE, .on_message = consume, .user = run}) ==
            CONEY_OK &&
        coney_container_start(run->container) == CONEY_OK &&
        coney_message_new(&run->message, body, sizeof body, &(coney_properties){.delivery_mode = CONEY_TRANSIENT}) ==
            CONEY_OK;
    return done || complain("prepare");
}

static bool send_for(memory_run *run, int seconds)
{
    for (time_t end = time(NULL) + seconds; time(NULL) < end;) {
        if (coney_template_send_async(run->sender, QUEUE, run->message, NULL, count, run) != CONEY_OK)
            return complain("send");
    }
    return true;
}

static long resident_kb(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static bool watch(memory_run *run, int minutes)
{
    enum { STEPS_A_MINUTE = 12 };
    long early = 0, late = 0;
    int steps = minutes * STEPS_A_MINUTE;
    for (int i = 0; i < steps; i++) {
        if (!send_for(run, 60 / STEPS_A_MINUTE))
            return false;
        long now = resident_kb();
        if (i <= steps / 4 && now > early)
            early = now;
        if (now > late)
            late = now;
        printf("%4d s  %8ld kB  %10ld confirmed  %10ld consumed\n", (i + 1) * 60 / STEPS_A_MINUTE, now,
               atomic_load(&run->confirmed), atomic_load(&run->consumed));
        fflush(stdout);
    }
    printf("at most %ld kB in the first quarter, %ld kB in all\n", early, late);
    return late - early <= ALLOWED_KB;
}

int main(int count_of_arguments, char **arguments)
{
    bool given = count_of_arguments == 3 && strcmp(arguments[1], "--minutes") == 0;
    int minutes = given ? atoi(arguments[2]) : 5;
    if ((count_of_arguments > 1 && !given) || minutes < 1 || minutes > 1440) {
        fprintf(stderr, "usage: %s [--minutes N]\n", arguments[0]);
        return 2;
    }
    memory_run run = {.factory = NULL};
    bool done = prepare(&run) && watch(&run, minutes);
    coney_container_free(run.container);
    if (run.admin)
        coney_admin_delete_queue(run.admin, QUEUE, NULL);
    coney_template_free(run.sender);
    coney_message_unref(run.message);
    coney_admin_free(run.admin);
    coney_connection_factory_free(run.factory);
    return done ? 0 : 1;
}
