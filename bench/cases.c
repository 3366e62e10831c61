/* SPDX-License-Identifier: MIT */
#include "cases.h"

#include <string.h>

const bench_case bench_cases[] = {
    {.name = "publish-confirm", .mode = BENCH_ASYNC, .body_bytes = 100},
    {.name = "publish-confirm-unrouted", .mode = BENCH_ASYNC, .body_bytes = 100, .unrouted = true},
    {.name = "publish-confirm-tls", .mode = BENCH_ASYNC, .body_bytes = 100, .unrouted = true, .tls = true},
    {.name = "publish-forget", .mode = BENCH_FORGET, .body_bytes = 100, .unrouted = true},
    {.name = "publish-quorum-1k", .mode = BENCH_ASYNC, .body_bytes = 1024, .quorum = true},
    {.name = "publish-quorum-64k", .mode = BENCH_ASYNC, .body_bytes = 65536, .quorum = true},
    {.name = "publish-sync", .mode = BENCH_SYNC, .body_bytes = 100},
    {.name = "publish-sync-16", .mode = BENCH_SYNC, .body_bytes = 100, .threads = 16},
    {.name = "publish-json", .mode = BENCH_JSON},
    {.name = "startup", .mode = BENCH_STARTUP, .body_bytes = 100, .unrouted = true},
    {.name = "idle-memory", .mode = BENCH_IDLE, .body_bytes = 100},
};
const size_t bench_case_count = sizeof bench_cases / sizeof *bench_cases;

const bench_case *bench_case_find(const char *name)
{
    for (size_t i = 0; i < bench_case_count; i++) {
        if (strcmp(bench_cases[i].name, name) == 0)
            return &bench_cases[i];
    }
    return NULL;
}
