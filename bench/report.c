/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct figure {
    const char *coney, *raw, *ratio; /* names; the last two may be NULL */
    size_t offset;                   /* in bench_sample */
} figure;

static const figure figures[] = {
    {"coney_rate", "raw_rate", "rate_ratio", offsetof(bench_sample, rate)},
    {"coney_cpu_us", "raw_cpu_us", "cpu_ratio", offsetof(bench_sample, cpu_us)},
    {"coney_p50_us", "raw_p50_us", "p50_ratio", offsetof(bench_sample, p50_us)},
    {"coney_p99_us", "raw_p99_us", "p99_ratio", offsetof(bench_sample, p99_us)},
    {"coney_conversion_us", "raw_conversion_us", NULL, offsetof(bench_sample, conversion_us)},
    {"coney_rss_kb", "raw_rss_kb", "rss_ratio", offsetof(bench_sample, rss_kb)},
    {"coney_peak_rss_kb", "raw_peak_rss_kb", "peak_rss_ratio", offsetof(bench_sample, peak_rss_kb)},
    {"threads", NULL, NULL, offsetof(bench_sample, threads)},
    {"rss_per_listener_kb", NULL, NULL, offsetof(bench_sample, rss_per_listener_kb)},
};

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

static double value(const bench_sample *sample, size_t offset)
{
    return *(const double *)(const void *)((const char *)sample + offset);
}

static bool tells_spread;

void bench_report_spread(void)
{
    tells_spread = true;
}

/* The ratios are sorted. */
static void add_spread(json_t *object, const double *ratios, int count)
{
    json_object_set_new(object, "cpu_ratio_lowest", json_real(ratios[0]));
    json_object_set_new(object, "cpu_ratio_highest", json_real(ratios[count - 1]));
}

static void summarise(json_t *object, const figure *one, const bench_sample *coney, const bench_sample *raw, int rounds)
{
    double left[BENCH_ROUNDS], right[BENCH_ROUNDS], ratio[BENCH_ROUNDS];
    bool compared = one->raw;
    for (int i = 0; i < rounds; i++) {
        left[i] = value(&coney[i], one->offset);
        right[i] = value(&raw[i], one->offset);
        if (left[i] <= 0)
            return;
        compared = compared && right[i] > 0;
        ratio[i] = compared ? left[i] / right[i] : 0;
    }
    json_object_set_new(object, one->coney, json_real(median(left, rounds)));
    if (compared)
        json_object_set_new(object, one->raw, json_real(median(right, rounds)));
    if (compared && one->ratio)
        json_object_set_new(object, one->ratio, json_real(median(ratio, rounds)));
    if (compared && tells_spread && rounds > 0 && one->offset == offsetof(bench_sample, cpu_us))
        add_spread(object, ratio, rounds);
}

static void print_number(const json_t *object, const char *name, int decimals)
{
    const json_t *number = json_object_get(object, name);
    if (number)
        printf(" %10.*f", decimals, json_real_value(number));
    else
        printf(" %10s", "-");
}

static void print_notes(const json_t *object)
{
    const json_t *share = json_object_get(object, "coney_conversion_share");
    const json_t *threads = json_object_get(object, "threads");
    const json_t *rss_kb = json_object_get(object, "rss_per_listener_kb");
    const json_t *lowest = json_object_get(object, "cpu_ratio_lowest");
    if (lowest)
        printf("%-24s CPU ratios from %.2f to %.2f\n", "", json_real_value(lowest),
               json_real_value(json_object_get(object, "cpu_ratio_highest")));
    if (share)
        printf("%-24s %.0f %% of Coney's CPU is conversion\n", "", 100 * json_real_value(share));
    if (threads && rss_kb)
        printf("%-24s %.0f threads, %.1f kB for each listener\n", "", json_real_value(threads),
               json_real_value(rss_kb));
}

static void print_row(const json_t *object)
{
    static const struct {
        const char *title, *name;
        int decimals;
    } columns[] = {
        {"coney/s", "coney_rate", 0},        {"raw/s", "raw_rate", 0},
        {"ratio", "rate_ratio", 2},          {"coney cpu", "coney_cpu_us", 2},
        {"raw cpu", "raw_cpu_us", 2},        {"ratio", "cpu_ratio", 2},
        {"coney p50", "coney_p50_us", 0},    {"p50 ratio", "p50_ratio", 2},
        {"p99 ratio", "p99_ratio", 2},       {"rss ratio", "rss_ratio", 2},
        {"peak kB", "coney_peak_rss_kb", 0}, {"raw peak", "raw_peak_rss_kb", 0},
    };
    enum { COLUMNS = sizeof columns / sizeof *columns };
    static bool headed;
    if (!headed) {
        printf("%-24s", "case");
        for (int i = 0; i < COLUMNS; i++)
            printf(" %10s", columns[i].title);
        putchar('\n');
        headed = true;
    }
    printf("%-24s", json_string_value(json_object_get(object, "case")));
    for (int i = 0; i < COLUMNS; i++)
        print_number(object, columns[i].name, columns[i].decimals);
    putchar('\n');
    print_notes(object);
    fflush(stdout);
}

/* Of the CPU for a message; only where conversion is measured. */
static void add_conversion_share(json_t *object)
{
    const json_t *conversion = json_object_get(object, "coney_conversion_us");
    const json_t *cpu = json_object_get(object, "coney_cpu_us");
    if (conversion && cpu)
        json_object_set_new(object, "coney_conversion_share",
                            json_real(json_real_value(conversion) / json_real_value(cpu)));
}

json_t *bench_report(const bench_case *one, const bench_sample *coney, const bench_sample *raw, int rounds)
{
    json_t *object = json_pack("{s:s, s:i}", "case", one->name, "rounds", rounds);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        summarise(object, &figures[i], coney, raw, rounds);
    add_conversion_share(object);
    print_row(object);
    return object;
}
