/* SPDX-License-Identifier: MIT */
/* Rounds, medians and their report. CPU time is that of all threads of this process, user and
 * system together; the broker's is not in it. */
#include "measure.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_ROUNDS 99

typedef struct sample {
    double rate;   /* messages a second */
    double cpu_us; /* for each message */
} sample;

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

static bool measure(const bench_case *one, bench_side *side, sample *result)
{
    double wall = wall_s(), cpu = cpu_s();
    if (!side(one->user, one->messages))
        return false;
    *result = (sample){.rate = one->messages / (wall_s() - wall), .cpu_us = (cpu_s() - cpu) * 1e6 / one->messages};
    if (one->between)
        one->between(one->user);
    return true;
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_size);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

static json_t *summarise(const bench_case *one, const sample *coney, const sample *raw)
{
    double columns[6][MAX_ROUNDS];
    for (int i = 0; i < one->rounds; i++) {
        columns[0][i] = coney[i].rate;
        columns[1][i] = raw[i].rate;
        columns[2][i] = coney[i].rate / raw[i].rate;
        columns[3][i] = coney[i].cpu_us;
        columns[4][i] = raw[i].cpu_us;
        columns[5][i] = coney[i].cpu_us / raw[i].cpu_us;
    }
    static const char *const names[] = {"coney_rate",   "raw_rate",   "rate_ratio",
                                        "coney_cpu_us", "raw_cpu_us", "cpu_ratio"};
    json_t *object = json_pack("{s:s, s:i, s:i}", "case", one->name, "rounds", one->rounds, "messages", one->messages);
    for (int i = 0; i < 6; i++)
        json_object_set_new(object, names[i], json_real(median(columns[i], one->rounds)));
    return object;
}

static double number(const json_t *object, const char *name)
{
    return json_real_value(json_object_get(object, name));
}

static void print_row(const json_t *object)
{
    static bool headed;
    if (!headed)
        printf("%-24s %11s %11s %7s %10s %10s %7s\n", "case", "coney/s", "raw/s", "ratio", "coney us", "raw us",
               "ratio");
    headed = true;
    printf("%-24s %11.0f %11.0f %7.2f %10.2f %10.2f %7.2f\n", json_string_value(json_object_get(object, "case")),
           number(object, "coney_rate"), number(object, "raw_rate"), number(object, "rate_ratio"),
           number(object, "coney_cpu_us"), number(object, "raw_cpu_us"), number(object, "cpu_ratio"));
    fflush(stdout);
}

static bool append_json(const char *path, json_t *object)
{
    json_t *list = json_load_file(path, 0, NULL);
    if (!json_is_array(list)) {
        json_decref(list);
        list = json_array();
    }
    json_array_append(list, object);
    bool written = json_dump_file(list, path, JSON_INDENT(2)) == 0;
    json_decref(list);
    if (!written)
        fprintf(stderr, "cannot write %s\n", path);
    return written;
}

bool bench_run(const bench_case *one, const char *json_path)
{
    sample coney[MAX_ROUNDS], raw[MAX_ROUNDS];
    for (int i = -1; i < one->rounds; i++) { /* the first round warms up and is overwritten */
        int at = i < 0 ? 0 : i;
        bool coney_first = at % 2 == 0;
        bool done = measure(one, coney_first ? one->coney : one->raw, coney_first ? &coney[at] : &raw[at]) &&
                    measure(one, coney_first ? one->raw : one->coney, coney_first ? &raw[at] : &coney[at]);
        if (!done)
            return false;
    }
    json_t *object = summarise(one, coney, raw);
    print_row(object);
    bool written = !json_path || append_json(json_path, object);
    json_decref(object);
    return written;
}
