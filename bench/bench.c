/* SPDX-License-Identifier: MIT */
/* Compares Coney with the best loop one can honestly write with rabbitmq-c alone, or with another build of Coney. Each
 * side is a process of its own; both use one broker, in alternating rounds. The median of the ratios of neighbouring
 * rounds counts, which a noisy machine hardly moves. */
#include "child.h"
#include "feeder.h"
#include "report.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUND_S 0.6
#define WARM_UP 2000

static const char *programs[2] = {"side_coney", "side_raw"};
static const char *names[2] = {"coney", "raw"}; /* in the names of queues */

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/* ---- rounds of sending or consuming ---- */

typedef struct contestant {
    child process;
    feeder feeder;
} contestant;

static bool work(const contestant *side, int messages, bench_sample *sample)
{
    char line[64], answer[256];
    double wall, cpu;
    snprintf(line, sizeof line, "%d\n", messages);
    if (!feeder_fill(&side->feeder, messages) || !child_ask(&side->process, line, answer, sizeof answer) ||
        sscanf(answer, "%lf %lf %lf %lf %lf", &wall, &cpu, &sample->p50_us, &sample->p99_us, &sample->conversion_us) !=
            5)
        return false;
    sample->rate = messages / wall;
    sample->cpu_us = cpu * 1e6 / messages;
    return feeder_check(&side->feeder, messages);
}

static bool ask_memory(const child *side, bench_sample *sample)
{
    char answer[256];
    return child_ask(side, "memory\n", answer, sizeof answer) &&
           sscanf(answer, "%lf %lf", &sample->rss_kb, &sample->peak_rss_kb) == 2;
}

/* How many messages take about as long as a round should. */
static bool warm_up(const contestant *side, const bench_case *one, int *messages)
{
    bench_sample sample;
    bool is_slow = one->mode == BENCH_SYNC || one->mode == BENCH_JSON || one->mode == BENCH_RPC;
    int first = is_slow ? WARM_UP / 20 : WARM_UP;
    for (int i = 0; i < 2; i++) { /* the first one pays for what happens once */
        if (!work(side, first, &sample))
            return false;
    }
    double enough = sample.rate * ROUND_S;
    *messages = enough < first ? first : enough > 200000 ? 200000 : (int)enough;
    return true;
}

static bool run_rounds(const bench_case *one, const contestant sides[2], bench_sample samples[2][BENCH_ROUNDS])
{
    int messages[2];
    if (!warm_up(&sides[0], one, &messages[0]) || !warm_up(&sides[1], one, &messages[1]))
        return false;
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        for (int turn = 0; turn < 2; turn++) {
            int side = (round + turn) % 2;
            if (!work(&sides[side], messages[side], &samples[side][round]) ||
                !ask_memory(&sides[side].process, &samples[side][round]))
                return false;
            samples[side][round].rss_kb = 0; /* that of a client at work says little */
        }
    }
    for (int side = 0; side < 2; side++) { /* the peak of them all */
        for (int round = 0; round < BENCH_ROUNDS - 1; round++)
            samples[side][round].peak_rss_kb = samples[side][BENCH_ROUNDS - 1].peak_rss_kb;
    }
    return true;
}

typedef struct role {
    const char *program;
    const char *case_name;
} role;

/* The second side is another program, or the same program with another case. */
static role role_of(const bench_case *one, int side)
{
    bool is_other_case = side == 1 && one->other && names[0] != names[1];
    return is_other_case ? (role){programs[0], one->other} : (role){programs[side], one->name};
}

/* Two callers of one program share a server, because their servers would share a queue. */
static bool start_servers(const bench_case *one, child servers[2])
{
    if (one->mode != BENCH_RPC)
        return true;
    bool is_shared = one->other || names[0] == names[1];
    return child_start(&servers[0], programs[0], BENCH_SERVER) &&
           (is_shared || child_start(&servers[1], programs[1], BENCH_SERVER));
}

static bool run_working(const bench_case *one, bench_sample samples[2][BENCH_ROUNDS])
{
    contestant sides[2] = {{.process = {0}}, {.process = {0}}};
    child servers[2] = {{0}, {0}};
    bool done = start_servers(one, servers);
    for (int i = 0; done && i < 2; i++) {
        role part = role_of(one, i);
        done = feeder_open(&sides[i].feeder, one, names[i]) &&
               child_start(&sides[i].process, part.program, part.case_name);
    }
    done = done && run_rounds(one, sides, samples);
    for (int i = 0; i < 2; i++) {
        child_end(&sides[i].process);
        feeder_close(&sides[i].feeder);
    }
    for (int i = 0; i < 2; i++)
        child_end(&servers[i]);
    return done;
}

/* ---- rounds of starting ---- */

/* From the start of the process until it is ready, and its memory then. */
static bool start_once(const bench_case *one, int side, bench_sample *sample)
{
    child started = {0};
    double before = now_us();
    bool done = child_start(&started, programs[side], one->name);
    if (one->mode == BENCH_STARTUP)
        sample->p50_us = now_us() - before;
    done = done && ask_memory(&started, sample);
    child_end(&started);
    return done;
}

static bool run_starting(const bench_case *one, bench_sample samples[2][BENCH_ROUNDS])
{
    for (int round = -1; round < BENCH_ROUNDS; round++) { /* the first warms up and is overwritten */
        for (int turn = 0; turn < 2; turn++) {
            int at = round < 0 ? 0 : round, side = (at + turn) % 2;
            if (!start_once(one, side, &samples[side][at]))
                return false;
        }
    }
    return true;
}

/* ---- rounds of listening ---- */

/* What listeners add to a process that is connected. */
static bool listen_once(const bench_case *one, bench_sample *sample)
{
    child started = {0};
    bench_sample before;
    char answer[256];
    bool done = child_start(&started, programs[0], one->name) && ask_memory(&started, &before) &&
                child_ask(&started, "listen\n", answer, sizeof answer) &&
                sscanf(answer, "%lf", &sample->threads) == 1 && ask_memory(&started, sample);
    child_end(&started);
    if (done)
        sample->rss_per_listener_kb = (sample->rss_kb - before.rss_kb) / one->listeners;
    return done;
}

static bool run_listening(const bench_case *one, bench_sample samples[BENCH_ROUNDS])
{
    feeder queues = {0};
    bool done = feeder_open(&queues, one, names[0]);
    for (int round = 0; done && round < BENCH_ROUNDS; round++)
        done = listen_once(one, &samples[round]);
    feeder_close(&queues);
    return done;
}

/* ---- all of them ---- */

static bool run_rounds_of(const bench_case *one, bench_sample samples[2][BENCH_ROUNDS])
{
    switch (one->mode) {
    case BENCH_STARTUP:
    case BENCH_IDLE: return run_starting(one, samples);
    case BENCH_LISTENERS: return run_listening(one, samples[0]);
    default: return run_working(one, samples);
    }
}

static bool run_case(const bench_case *one, json_t *list)
{
    bench_sample samples[2][BENCH_ROUNDS] = {{{0}}};
    bool done = run_rounds_of(one, samples);
    if (done)
        json_array_append_new(list, bench_report(one, samples[0], samples[1], BENCH_ROUNDS));
    return done;
}

static bool run_named(int count, char **wanted, json_t *list)
{
    bool done = true;
    for (int i = 0; i < count; i++) {
        const bench_case *one = bench_case_find(wanted[i]);
        bool is_case = one && one->mode != BENCH_SERVE;
        if (!is_case)
            fprintf(stderr, "bench: there is no case '%s'\n", wanted[i]);
        done = is_case && run_case(one, list) && done;
    }
    return done;
}

static bool run_all(json_t *list)
{
    bool done = true;
    for (size_t i = 0; i < bench_case_count; i++) {
        if (bench_cases[i].mode == BENCH_SERVE)
            continue;
        if (bench_cases[i].tls && !getenv("CONEY_TEST_TLS_PORT"))
            printf("%-24s skipped: the broker was not started by ./dev, so its TLS port is not known\n",
                   bench_cases[i].name);
        else
            done = run_case(&bench_cases[i], list) && done;
    }
    return done;
}

/* The other side is a side_coney, too. */
static void compare_with(const char *program)
{
    programs[1] = program;
    names[1] = names[0];
    bench_report_spread();
    printf("raw is %s\n", program);
}

int main(int count, char **arguments)
{
    const char *json_path = NULL;
    int first = 1;
    for (; first + 1 < count && arguments[first][0] == '-'; first += 2) {
        if (strcmp(arguments[first], "--json") == 0)
            json_path = arguments[first + 1];
        else if (strcmp(arguments[first], "--against") == 0)
            compare_with(arguments[first + 1]);
        else
            break;
    }
    if (first < count && arguments[first][0] == '-') {
        fprintf(stderr, "usage: %s [--json FILE] [--against SIDE_CONEY] [CASE...]\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    json_t *list = json_array();
    bool done = count > first ? run_named(count - first, arguments + first, list) : run_all(list);
    if (json_path && json_dump_file(list, json_path, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0) {
        fprintf(stderr, "bench: cannot write %s\n", json_path);
        done = false;
    }
    json_decref(list);
    return done ? 0 : 1;
}
