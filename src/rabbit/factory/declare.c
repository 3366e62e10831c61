/* SPDX-License-Identifier: MIT */
/* Declares sets now, for a caller who waits. On a thread of the program. It must not know how. */
#include "rabbit/factory/parts.h"
#include "rabbit/factory/registry.h"

#define MOMENT_MS 500 /* until the thread that declares has noted what has no answer */

/* Under lock: the broker has answered the declaration of each item, or will not soon: after one that has no answer the
 * others would take as long. */
static bool is_answered(const cny_declaration_set *set)
{
    bool is_complete = true;
    for (size_t i = 0; set->has_joined && i < set->count; i++) {
        const cny_declaration *item = &set->items[i];
        if (item->error && cny_error_view(item->error)->status == CONEY_E_TIMEOUT)
            return true;
        is_complete = is_complete && (item->state != CNY_DECLARATION_WANTED || item->error);
    }
    return is_complete;
}

static coney_status first_refusal(const cny_declaration_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].error && set->items[i].on_refusal != CONEY_REFUSAL_IGNORE)
            return cny_error_raise(set->items[i].error);
    }
    return CONEY_OK;
}

static bool are_answered(cny_declaration_set *const *sets, size_t count)
{
    bool is_complete = true;
    for (size_t i = 0; is_complete && i < count; i++)
        is_complete = is_answered(sets[i]);
    return is_complete;
}

/* Under lock: waits for as long as answers come. */
static coney_status wait_until_answered(coney_connection_factory *factory, cny_declaration_set *const *sets,
                                        size_t count, int timeout_ms)
{
    uint64_t answers = factory->declarations.answers;
    int64_t deadline = cny_deadline(timeout_ms + MOMENT_MS);
    bool in_time = true;
    while (!are_answered(sets, count) && in_time && !cny_factory_is_closed(factory)) {
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
        if (answers == factory->declarations.answers)
            continue;
        answers = factory->declarations.answers;
        deadline = cny_deadline(timeout_ms + MOMENT_MS);
        in_time = true;
    }
    if (cny_factory_is_closed(factory))
        return cny_factory_check_closed(factory);
    coney_status status =
        are_answered(sets, count)
            ? CONEY_OK
            : cny_fail(CONEY_E_TIMEOUT, "declare: no answer from the broker within %d ms", timeout_ms);
    for (size_t i = 0; status == CONEY_OK && i < count; i++)
        status = first_refusal(sets[i]);
    return status;
}

static uint64_t count_answers(coney_connection_factory *factory)
{
    pthread_mutex_lock(&factory->lock);
    uint64_t answers = factory->declarations.answers;
    pthread_mutex_unlock(&factory->lock);
    return answers;
}

/* A connection is open only when everything was declared on it once, which takes as long as answers come. */
static coney_status wait_open(coney_connection_factory *factory, int timeout_ms)
{
    uint64_t before, answers = count_answers(factory);
    coney_status status;
    do {
        before = answers;
        status = cny_factory_wait_open(factory, CONEY_CONSUMING, cny_deadline(timeout_ms));
        answers = count_answers(factory);
    } while (status == CONEY_E_CONNECT && answers != before);
    return status;
}

/* Under lock. */
static void begin(coney_connection_factory *factory, cny_declaration_set *set)
{
    set->callers++;
    for (size_t i = 0; i < set->count; i++)
        cny_declaration_want_now(factory, &set->items[i]);
}

/* Under lock. */
static void end(coney_connection_factory *factory, cny_declaration_set *set)
{
    bool is_last = --set->callers == 0;
    for (size_t i = 0; is_last && !set->is_automatic && i < set->count; i++)
        cny_declaration_set_to(factory, &set->items[i], CNY_DECLARATION_IDLE);
}

coney_status cny_declarations_declare(coney_connection_factory *factory, cny_declaration_set *const *sets, size_t count,
                                      int timeout_ms)
{
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < count; i++)
        begin(factory, sets[i]);
    cny_factory_wake_locked(factory);
    pthread_mutex_unlock(&factory->lock);
    coney_status status = wait_open(factory, timeout_ms);
    pthread_mutex_lock(&factory->lock);
    if (status == CONEY_OK)
        status = wait_until_answered(factory, sets, count, timeout_ms);
    for (size_t i = 0; i < count; i++)
        end(factory, sets[i]);
    pthread_mutex_unlock(&factory->lock);
    return status;
}
