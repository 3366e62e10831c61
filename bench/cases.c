/* SPDX-License-Identifier: MIT */
#include "cases.h"

#include <stdio.h>
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
    {.name = "consume-ack", .mode = BENCH_CONSUME, .body_bytes = 100},
    {.name = "consume-ack-tls", .mode = BENCH_CONSUME, .body_bytes = 100, .tls = true},
    {.name = "consume-noack", .mode = BENCH_CONSUME, .body_bytes = 100, .no_ack = true},
    {.name = "consume-ack-prefetch-1", .mode = BENCH_CONSUME, .body_bytes = 100, .prefetch = 1},
    {.name = "consume-4-wait", .mode = BENCH_CONSUME, .body_bytes = 100, .concurrency = 4, .handler_ms = 1},
    {.name = "relay", .mode = BENCH_RELAY, .body_bytes = 100},
    {.name = "rpc-sync", .mode = BENCH_RPC, .body_bytes = 100},
    {.name = "rpc-async", .mode = BENCH_RPC, .body_bytes = 100, .outstanding = 256, .other = "rpc-sync"},
    {.name = "rpc-16", .mode = BENCH_RPC, .body_bytes = 100, .threads = 16, .other = "rpc-sync"},
    {.name = BENCH_SERVER, .mode = BENCH_SERVE},
    {.name = "listeners-1000", .mode = BENCH_LISTENERS, .listeners = 1000},
    {.name = "json-encode-10", .mode = BENCH_ENCODE},
    {.name = "json-decode-10", .mode = BENCH_DECODE},
    {.name = "json-encode-100-lines", .mode = BENCH_ENCODE, .lines = 100},
    {.name = "json-decode-100-lines", .mode = BENCH_DECODE, .lines = 100},
};
const size_t bench_case_count = sizeof bench_cases / sizeof *bench_cases;

int bench_prefetch(const bench_case *one)
{
    return one->prefetch > 0 ? one->prefetch : BENCH_PREFETCH;
}

const bench_case *bench_case_find(const char *name)
{
    for (size_t i = 0; i < bench_case_count; i++) {
        if (strcmp(bench_cases[i].name, name) == 0)
            return &bench_cases[i];
    }
    return NULL;
}

bool bench_is_fed(const bench_case *one)
{
    return one->mode == BENCH_CONSUME || one->mode == BENCH_RELAY || one->mode == BENCH_LISTENERS;
}

bool bench_is_conversion(const bench_case *one)
{
    return one->mode == BENCH_ENCODE || one->mode == BENCH_DECODE;
}

void bench_queue(bench_queue_name name, const bench_case *one, const char *side)
{
    snprintf(name, sizeof(bench_queue_name), "coney.bench.%s.%s", one->name, side);
}

void bench_relay_queue(bench_queue_name name, const bench_case *one, const char *side)
{
    snprintf(name, sizeof(bench_queue_name), "coney.bench.%s.%s.next", one->name, side);
}

void bench_listener_queue(bench_queue_name name, const bench_case *one, int number)
{
    snprintf(name, sizeof(bench_queue_name), "coney.bench.%s.%d", one->name, number);
}
