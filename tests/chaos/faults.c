/* SPDX-License-Identifier: MIT */
/* A table of faults. Those of the broker are commands in CONEY_TEST_BROKER_DIR,
 * those of the network are modes of a proxy that stands before it. */
#include "chaos/faults.h"

#include "chaos/dice.h"
#include "support/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_TIMEOUT_S 120

/* What it takes to begin and to end it; what a kind does not need is left out. */
typedef struct fault_kind {
    const char *name;
    const char *command, *end_command;                 /* of the broker's directory */
    void (*network)(cny_proxy *network, cny_way ways); /* these end by letting everything pass */
    void (*network_by)(cny_proxy *network, cny_way ways, int number);
    int least_number, most_number;
    int least_ms, most_ms; /* how long it lasts */
    bool cuts_connections;
} fault_kind;

static const char *directory; /* of the broker */
static cny_proxy *proxy;
static char uri[64];

/* ---- the broker ---- */

/* A command line of the broker's directory. */
static bool run(const char *command)
{
    char line[1024];
    snprintf(line, sizeof line, "timeout --foreground %d %s/%s >%s/log/chaos.log 2>&1", COMMAND_TIMEOUT_S, directory,
             command, directory);
    if (system(line) == 0)
        return true;
    fprintf(stderr, "chaos: %s failed:\n", command);
    snprintf(line, sizeof line, "tail -n 20 %s/log/chaos.log >&2", directory);
    (void)!system(line);
    return false;
}

/* ---- the network ---- */

static void cut_after(cny_proxy *network, cny_way ways, int bytes)
{
    cny_proxy_cut_after(network, ways, (size_t)bytes);
}

static void refuse(cny_proxy *network, cny_way ways)
{
    (void)ways;
    cny_proxy_refuse(network);
    cny_proxy_reset(network, CNY_BOTH_WAYS);
}

/* ---- all kinds ---- */

#define CTL "rabbitmqctl -q "

/* Its consumers are cancelled, and it comes back with its messages. */
#define CRASH_QUEUE                                                                                                    \
    CTL "eval '{ok, Queue} = rabbit_amqqueue:lookup({resource, <<\"/\">>, queue, <<\"chaos.classic\">>}), "            \
        "exit(amqqueue:get_pid(Queue), kill).'"

/* Nobody gets in until it is what it was. A connection that the network has lost would take half a minute to close. */
#define CHANGE_PASSWORD                                                                                                \
    CTL "eval 'ok = rabbit_auth_backend_internal:change_password(<<\"guest\">>, <<\"other\">>, <<\"chaos\">>), "       \
        "[spawn(fun() -> rabbit_networking:close_connection(Pid, \"chaos\") end) || "                                  \
        "Pid <- rabbit_networking:connections()].'"

/* Deleting a queue or a virtual host is missing: that deletes messages which were confirmed. */
static const fault_kind kinds[] = {
    {"broker killed", .command = "signal KILL", .end_command = "restart", .most_ms = 2000, .cuts_connections = true},
    {"broker paused", .command = "signal STOP", .end_command = "signal CONT", .least_ms = 5000, .most_ms = 8000,
     .cuts_connections = true},
    {"memory alarm", .command = CTL "set_vm_memory_high_watermark 0.00001",
     .end_command = CTL "set_vm_memory_high_watermark 0.4", .least_ms = 1000, .most_ms = 4000},
    {"connections closed", .command = CTL "close_all_connections chaos", .cuts_connections = true},
    {"application stopped", .command = CTL "stop_app", .end_command = CTL "start_app", .most_ms = 2000,
     .cuts_connections = true},
    {"queue crashed", .command = CRASH_QUEUE},
    {"password changed", .command = CHANGE_PASSWORD, .end_command = CTL "change_password guest guest", .least_ms = 500,
     .most_ms = 2000, .cuts_connections = true},
    {"cut", .network = cny_proxy_cut},
    {"reset", .network = cny_proxy_reset, .cuts_connections = true},
    {"cut in a frame", .network_by = cut_after, .least_number = 1, .most_number = 50000, .least_ms = 1000,
     .most_ms = 2000},
    {"black hole", .network = cny_proxy_black_hole, .least_ms = 5000, .most_ms = 8000, .cuts_connections = true},
    {"refused", .network = refuse, .least_ms = 500, .most_ms = 3000, .cuts_connections = true},
    {"one byte at a time", .network = cny_proxy_trickle, .least_ms = 2000, .most_ms = 5000},
    {"200 ms late", .network_by = cny_proxy_delay, .least_number = 200, .most_number = 200, .least_ms = 2000,
     .most_ms = 5000},
    {"20 kB/s", .network_by = cny_proxy_rate, .least_number = 20000, .most_number = 20000, .least_ms = 2000,
     .most_ms = 6000},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

const char *faults_name(const fault_draw *draw)
{
    return kinds[draw->kind].name;
}

bool faults_cut_connections(const fault_draw *draw)
{
    return kinds[draw->kind].cuts_connections;
}

bool faults_begin(const fault_draw *draw)
{
    const fault_kind *kind = &kinds[draw->kind];
    if (kind->network)
        kind->network(proxy, (cny_way)draw->ways);
    if (kind->network_by)
        kind->network_by(proxy, (cny_way)draw->ways, draw->number);
    return !kind->command || run(kind->command);
}

bool faults_end(const fault_draw *draw)
{
    const fault_kind *kind = &kinds[draw->kind];
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    cny_proxy_listen(proxy);
    return !kind->end_command || run(kind->end_command);
}

/* ---- drawing ---- */

static dice chance;

void faults_seed(uint64_t seed)
{
    atomic_store(&chance.state, seed);
}

static int draw_kind(void)
{
    static int deck[KINDS];
    static int left;
    if (left == 0) {
        for (; left < KINDS; left++)
            deck[left] = left;
    }
    int at = dice_between(&chance, 0, left - 1);
    int kind = deck[at];
    deck[at] = deck[--left];
    return kind;
}

fault_draw faults_draw(void)
{
    fault_draw draw = {.kind = draw_kind()};
    const fault_kind *kind = &kinds[draw.kind];
    draw.calm_ms = dice_between(&chance, 0, 2000);
    draw.hold_ms = dice_between(&chance, kind->least_ms, kind->most_ms);
    draw.number = dice_between(&chance, kind->least_number, kind->most_number);
    draw.ways = dice_between(&chance, CNY_TO_BROKER, CNY_BOTH_WAYS);
    draw.patient = dice_between(&chance, 1, 4) > 1;
    return draw;
}

/* ---- life ---- */

const char *faults_start(void)
{
    const char *broker = getenv("CONEY_TEST_URI");
    const char *port = broker ? strrchr(broker, ':') : NULL;
    directory = getenv("CONEY_TEST_BROKER_DIR");
    if (!directory || !port) {
        fprintf(stderr, "chaos: there is no broker to break; run it with ./dev chaos\n");
        return NULL;
    }
    proxy = cny_proxy_start((int)strtol(port + 1, NULL, 10));
    snprintf(uri, sizeof uri, "amqp://guest:guest@127.0.0.1:%d/", cny_proxy_port(proxy));
    return uri;
}

void faults_stop(void)
{
    cny_proxy_stop(proxy);
}
