/* SPDX-License-Identifier: MIT */
/* The lanes of a source: made, and set to work by the I/O thread and the supervisor. A worker spreads the messages that
 * have come over several lanes, by a key of each message, so that messages with the same key keep their order. */
#include "rabbit/listener/handling/lane.h"

#include "rabbit/listener/handling/provenance.h"
#include "rabbit/listener/handling/source.h"

#include <string.h>

/* ---- spreading messages over lanes ---- */

static uint32_t hash_of_header(const coney_message *message, const char *name)
{
    const coney_value *value = coney_message_header(message, name);
    if (!value)
        return 0;
    if (value->type == CONEY_STRING || value->type == CONEY_BYTES)
        return cny_hash(value->as.bytes.data, value->as.bytes.size);
    int64_t number = value->type == CONEY_BOOL ? value->as.boolean : value->as.integer;
    return value->type <= CONEY_INT64 || value->type == CONEY_TIMESTAMP ? cny_hash(&number, sizeof number) : 0;
}

static cny_lane *lane_of(cny_source *source, const coney_message *message)
{
    const char *header = source->handling->spec->options.lane_header, *key = message->routing_key;
    uint32_t value = header ? hash_of_header(message, header) : cny_hash(key, strlen(key));
    return &source->lanes[value % (uint32_t)source->lane_count];
}

/* Without memory a message goes back to the queue, where its turn comes again. */
static void put_on_lane(cny_source *source, coney_message *message)
{
    cny_restore_address(source->handling->spec, message); /* back from the ladder to the same lane */
    cny_lane *lane = lane_of(source, message);
    pthread_mutex_lock(&lane->lock);
    bool put = cny_buffer_append(&lane->inbox, &message, sizeof(coney_message *));
    pthread_mutex_unlock(&lane->lock);
    if (put) {
        cny_workers_schedule(source->handling->context->workers, &lane->task);
        return;
    }
    cny_return_for_want_of_memory(source, message);
    atomic_fetch_sub(&source->in_lanes, 1);
    coney_message_unref(message);
}

static void spread(cny_task *task)
{
    cny_source *source = (cny_source *)(void *)task;
    if (!cny_source_take(source, &source->taken))
        return;
    coney_message **messages = (coney_message **)(void *)source->taken.data;
    size_t count = source->taken.size / sizeof *messages;
    for (size_t i = 0; i < count; i++)
        put_on_lane(source, messages[i]);
    source->taken.size = 0;
}

/* ---- life ---- */

/* The task of a lane, or of a source with several lanes: its function tells which. Under the workers' lock. */
static void on_idle(cny_task *task)
{
    const cny_lane *lane = (const cny_lane *)(const void *)task;
    const cny_source *source = task->run == spread ? (const cny_source *)(const void *)task : lane->source;
    if (cny_intake_ends(&source->intake))
        cny_source_wake(source);
}

static void init_lane(cny_lane *lane, cny_source *source)
{
    lane->source = source;
    lane->task.run = cny_lane_run;
    lane->task.on_idle = on_idle;
    pthread_mutex_init(&lane->lock, NULL);
}

bool cny_source_init(cny_source *source, cny_handling *handling, int lanes)
{
    source->lanes = cny_alloc((size_t)lanes * sizeof *source->lanes);
    if (!source->lanes)
        return false;
    atomic_init(&source->refs, 1);
    source->handling = handling;
    source->task.run = spread;
    source->task.on_idle = on_idle;
    source->lane_count = lanes;
    for (int i = 0; i < lanes; i++)
        init_lane(&source->lanes[i], source);
    return true;
}

void cny_source_clear(cny_source *source)
{
    for (int i = 0; i < source->lane_count; i++) {
        cny_lane_clear(&source->lanes[i]);
        pthread_mutex_destroy(&source->lanes[i].lock);
    }
    cny_free(source->lanes);
    cny_buffer_free(&source->taken);
    cny_channel_unref(source->channel);
}

/* ---- setting to work ---- */

static bool has_many_lanes(const cny_source *source)
{
    return source->lane_count > 1;
}

void cny_source_on_deliveries(cny_source *source)
{
    cny_task *task = has_many_lanes(source) ? &source->task : &source->lanes[0].task;
    cny_workers_schedule(source->handling->context->workers, task);
}

void cny_source_raise_intake(cny_source *source, cny_intake_mode mode)
{
    cny_workers *workers = source->handling->context->workers;
    cny_intake_raise(&source->intake, mode);
    if (has_many_lanes(source))
        cny_workers_hasten(workers, &source->task);
    for (int i = 0; i < source->lane_count; i++)
        cny_workers_hasten(workers, &source->lanes[i].task);
}

void cny_source_withdraw(cny_source *source)
{
    cny_workers *workers = source->handling->context->workers;
    cny_workers_withdraw(workers, &source->task);
    for (int i = 0; i < source->lane_count; i++)
        cny_workers_withdraw(workers, &source->lanes[i].task);
}

bool cny_source_is_idle(cny_source *source)
{
    cny_workers *workers = source->handling->context->workers;
    bool idle = atomic_load(&source->in_lanes) == 0 && cny_workers_is_idle(workers, &source->task);
    for (int i = 0; idle && i < source->lane_count; i++)
        idle = cny_workers_is_idle(workers, &source->lanes[i].task);
    return idle;
}
