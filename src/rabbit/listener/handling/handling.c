/* SPDX-License-Identifier: MIT */
/* What the lanes of a container and of a listener share: made and freed. */
#include "rabbit/listener/handling/handling.h"

#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/publisher.h"

void cny_handling_context_init(cny_handling_context *context)
{
    cny_publisher_init(&context->failed);
    cny_publisher_init(&context->replies);
    cny_publisher_init(&context->exchange_replies);
    cny_processors_init(&context->after_receive);
}

void cny_handling_context_free(cny_handling_context *context)
{
    cny_publisher_free(&context->failed);
    cny_publisher_free(&context->replies);
    cny_publisher_free(&context->exchange_replies);
    cny_processors_free(&context->after_receive);
}

/* ---- the lanes of a listener ---- */

static struct cny_memory *new_memory(const cny_spec *spec)
{
    struct cny_memory *memory = cny_alloc(sizeof *memory);
    if (!memory)
        return NULL;
    cny_histories_init(&memory->histories, &spec->options);
    cny_backoffs_init(&memory->backoffs);
    cny_rejected_init(&memory->rejected);
    cny_position_init(&memory->position);
    return memory;
}

bool cny_handling_init(cny_handling *handling, cny_handling_context *context, cny_spec *spec)
{
    handling->context = context;
    handling->spec = spec;
    handling->memory = new_memory(spec);
    if (!handling->memory)
        return false;
    handling->log.wake = context->wake;
    handling->log.self = context->self;
    cny_limited_log_init(&handling->log);
    atomic_init(&handling->gate.is_wanted, spec->quarantine_queue != NULL);
    return true;
}

void cny_handling_free(cny_handling *handling)
{
    struct cny_memory *memory = handling->memory;
    if (!memory)
        return;
    cny_histories_free(&memory->histories);
    cny_backoffs_free(&memory->backoffs);
    cny_rejected_free(&memory->rejected);
    cny_position_free(&memory->position);
    cny_free(memory);
    cny_limited_log_free(&handling->log);
}

void cny_note_unseen(cny_handling *handling, const coney_message *message)
{
    if (!cny_acknowledges_nothing(handling->spec))
        cny_history_note(&handling->memory->histories, message, CNY_HISTORY_UNSEEN, NULL);
}

coney_status cny_handling_begin_stream(cny_handling *handling, cny_arena *arena, const coney_table **arguments)
{
    return cny_position_begin(&handling->memory->position, arena, arguments);
}

void cny_handling_restart_stream(cny_handling *handling)
{
    cny_position_restart(&handling->memory->position);
}
