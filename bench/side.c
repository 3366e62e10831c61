/* SPDX-License-Identifier: MIT */
/* The loop of a side: does what bench tells it and measures it. */
#include "side.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define CONVERSIONS 20000

double bench_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

json_t *bench_object(void)
{
    return json_pack("{s:i, s:s, s:s, s:f, s:b, s:i, s:s, s:s, s:f, s:n}", "id", 4711, "customer", "Ada Lovelace",
                     "street", "12 St James's Square", "amount", 99.95, "paid", 1, "items", 3, "currency", "GBP",
                     "note", "ring twice", "weight", 1.25, "coupon");
}

const char *bench_environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

/* Of all threads, user and system. */
static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

static int by_size(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double conversion_us(const bench_side *side, void *self)
{
    double before = cpu_s();
    return side->convert(self, CONVERSIONS) ? (cpu_s() - before) * 1e6 / CONVERSIONS : 0;
}

static bool measure(const bench_side *side, void *self, const bench_case *one, int messages)
{
    bool is_sync = one->mode == BENCH_SYNC || one->mode == BENCH_JSON || one->mode == BENCH_RPC;
    bool one_by_one = is_sync && one->threads <= 1 && one->outstanding == 0;
    double *each_us = one_by_one ? calloc((size_t)messages, sizeof *each_us) : NULL;
    double wall = bench_now_us(), cpu = cpu_s();
    bool done = side->work(self, messages, each_us);
    wall = bench_now_us() - wall, cpu = cpu_s() - cpu;
    double p50 = 0, p99 = 0;
    if (done && each_us) {
        qsort(each_us, (size_t)messages, sizeof *each_us, by_size);
        p50 = each_us[messages / 2];
        p99 = each_us[(int)((double)messages * 0.99)];
    }
    free(each_us);
    if (!done)
        return false;
    side->tidy(self);
    double conversion = one->mode == BENCH_JSON ? conversion_us(side, self) : 0;
    printf("%.6f %.6f %.3f %.3f %.3f\n", wall / 1e6, cpu, p50, p99, conversion);
    return true;
}

/* Kilobytes, or a number. */
static long process_status(const char *name)
{
    char line[256];
    long found = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status)) {
        if (strncmp(line, name, strlen(name)) == 0)
            found = strtol(line + strlen(name), NULL, 10);
    }
    if (status)
        fclose(status);
    return found;
}

static bool serve(const bench_side *side, void *self, const bench_case *one)
{
    char line[64];
    bool done = true;
    while (done && fgets(line, sizeof line, stdin)) {
        if (strcmp(line, "memory\n") == 0)
            printf("%ld %ld\n", process_status("VmRSS:"), process_status("VmHWM:"));
        else if (strcmp(line, "listen\n") == 0)
            done = side->listen(self) && printf("%ld\n", process_status("Threads:")) > 0;
        else
            done = measure(side, self, one, atoi(line));
        fflush(stdout);
    }
    return done;
}

int bench_side_main(int count_of_arguments, char **arguments, const bench_side *side)
{
    const bench_case *one = count_of_arguments == 2 ? bench_case_find(arguments[1]) : NULL;
    if (!one) {
        fprintf(stderr, "usage: %s CASE (started by bench)\n", arguments[0]);
        return 2;
    }
    void *self = side->open(one);
    if (!self)
        return 1;
    puts("ready");
    fflush(stdout);
    bool done = serve(side, self, one);
    side->close(self);
    return done ? 0 : 1;
}
