/* SPDX-License-Identifier: MIT */
/* Begins runs: whenever something is due and there is a connection. The recovery thread begins a run. The run has a
 * thread of its own, because it waits for answers: the recovery thread has deadlines of confirms to keep, and the I/O
 * thread has to read the answers. */
#include "rabbit/factory/declaring.h"
#include "rabbit/factory/parts.h"

#define FIRST_DELAY_MS 1000
#define TICK_MS 10

static void free_run(cny_run *one)
{
    coney_connection_factory *factory = one->factory;
    cny_declaration_set **sets = (cny_declaration_set **)(void *)one->sets.data;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++)
        cny_declaration_set_unref(sets[i]);
    cny_buffer_free(&one->sets);
    cny_buffer_free(&one->items);
    cny_buffer_free(&one->to_check);
    cny_buffer_free(&one->declared);
    cny_connection_unref(one->connection);
    cny_free(one);
    cny_factory_unref(factory);
}

/* Under lock: the run could not go on although there is a connection: no memory was left, or no channel. */
static bool is_stuck(const cny_run *one)
{
    const cny_slot *slot = &one->factory->slots[cny_connection_role(one->connection)];
    return one->progress == CNY_RUN_OVER && slot->connection == one->connection &&
           cny_connection_is_open(one->connection);
}

static void *run_main(void *argument)
{
    cny_run *one = argument;
    coney_connection_factory *factory = one->factory;
    cny_run_declare_all(one);
    pthread_mutex_lock(&factory->lock);
    factory->declarations.not_before = is_stuck(one) ? cny_deadline(FIRST_DELAY_MS) : 0;
    factory->declarations.is_running = false;
    cny_factory_wake_locked(factory);
    pthread_mutex_unlock(&factory->lock);
    free_run(one);
    return NULL;
}

/* ---- on the isolated connection ---- */

#define ISOLATED_MS 15000 /* to connect */

/* The item that has been due for longest of those that must be isolated. */
static cny_declaration *find_isolated(const cny_run *one, bool must_be_alone)
{
    pthread_mutex_lock(&one->factory->lock);
    cny_declaration_set **sets = (cny_declaration_set **)(void *)one->sets.data;
    cny_declaration *first = NULL;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++) {
        for (size_t k = 0; sets[i]->has_joined && k < sets[i]->count; k++) {
            cny_declaration *item = &sets[i]->items[k];
            bool is_isolated = cny_declaration_is_missing(item) && cny_must_isolate(&item->strikes) &&
                               (!must_be_alone || cny_must_be_alone(&item->strikes));
            if (is_isolated && item->due_at <= cny_now_ms() && (!first || item->due_at < first->due_at))
                first = item;
        }
    }
    pthread_mutex_unlock(&one->factory->lock);
    return first;
}

/* All together, which is quick, unless an item that must be alone has been due for longest. */
static void try_all(cny_run *one)
{
    cny_declaration *alone = find_isolated(one, true);
    if (find_isolated(one, false) != alone)
        cny_run_declare_all(one);
    while (!cny_run_is_over(one) && (alone = find_isolated(one, true)))
        cny_run_try_alone(one, alone);
    bool is_known = one->progress == CNY_RUN_HUNG || cny_connection_is_over_request(one->connection);
    cny_run_put_off(one, cny_run_is_over(one) && !is_known);
}

static void *isolated_main(void *argument)
{
    cny_run *one = argument;
    coney_connection_factory *factory = one->factory;
    if (cny_isolated_connection(&one->connection, factory, cny_deadline(ISOLATED_MS)) == CONEY_OK) {
        try_all(one);
        cny_isolated_close(factory, one->connection);
        one->connection = NULL;
    } else {
        cny_run_put_off(one, true);
    }
    pthread_mutex_lock(&factory->lock);
    factory->declarations.is_isolating = false;
    cny_factory_wake_locked(factory);
    pthread_mutex_unlock(&factory->lock);
    free_run(one);
    return NULL;
}

/* ---- beginning ---- */

/* Under lock. */
static cny_run *new_run(coney_connection_factory *factory, cny_connection *connection)
{
    cny_run *one = cny_alloc(sizeof *one);
    if (!one)
        return NULL;
    one->factory = cny_factory_ref(factory);
    one->connection = connection ? cny_connection_ref(connection) : NULL;
    one->is_isolated = !connection;
    const cny_buffer *sets = &factory->declarations.sets;
    if (!cny_buffer_append(&one->sets, sets->data, sets->size)) {
        free_run(one);
        return NULL;
    }
    cny_declaration_set **all = (cny_declaration_set **)(void *)one->sets.data;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++)
        cny_declaration_set_ref(all[i]);
    return one;
}

/* Under lock. connection NULL: a run on the isolated connection. False if the run could not begin. */
static bool begin_run(coney_connection_factory *factory, cny_connection *connection)
{
    cny_run *one = new_run(factory, connection);
    if (!one)
        return false;
    const cny_thread thread = {.name = "coney-declare", .run = connection ? run_main : isolated_main, .argument = one};
    if (cny_threads_start(&factory->threads, factory, &thread) != CONEY_OK) {
        free_run(one);
        return false;
    }
    if (connection)
        factory->declarations.is_running = true;
    else
        factory->declarations.is_isolating = true;
    factory->declarations.answered_at = cny_now_ms();
    return true;
}

/* ---- what is due; the recovery thread, under lock ---- */

static bool can_declare(const cny_slot *slot)
{
    char blocked[256] = "";
    if (!cny_slot_is_logged_in(slot->state) || !cny_connection_is_open(slot->connection))
        return false;
    if (slot->role == CONEY_PUBLISHING) /* a broker that holds back publishers does not read what they send */
        cny_connection_blocked(slot->connection, blocked);
    return !*blocked;
}

bool cny_declarations_are_under_way(const coney_connection_factory *factory, coney_connection_role role)
{
    return factory->declarations.is_running || cny_declarations_next_due(factory, role, false) <= cny_now_ms();
}

static int64_t next_run(const coney_connection_factory *factory, coney_connection_role role)
{
    int64_t due = cny_declarations_next_due(factory, role, false), not_before = factory->declarations.not_before;
    return due < not_before ? not_before : due;
}

static int64_t begin_if_due(coney_connection_factory *factory, cny_connection *connection, int64_t due)
{
    if (due > cny_now_ms())
        return due;
    return begin_run(factory, connection) ? INT64_MAX : cny_now_ms() + TICK_MS;
}

/* Only while the factory has another connection: without one the broker is not there. */
static int64_t try_isolated(coney_connection_factory *factory)
{
    bool has_any = can_declare(&factory->slots[CONEY_CONSUMING]) || can_declare(&factory->slots[CONEY_PUBLISHING]);
    if (factory->declarations.is_isolating || !has_any)
        return INT64_MAX;
    return begin_if_due(factory, NULL, cny_declarations_next_due(factory, CONEY_CONSUMING, true));
}

int64_t cny_declarations_run_due(coney_connection_factory *factory)
{
    int64_t next = INT64_MAX;
    if (cny_factory_is_closed(factory))
        return next;
    for (int role = 0; role < CNY_ROLE_COUNT && next == INT64_MAX && !factory->declarations.is_running; role++) {
        const cny_slot *slot = &factory->slots[role]; /* the consuming one first */
        if (can_declare(slot))
            next = begin_if_due(factory, slot->connection, next_run(factory, slot->role));
    }
    int64_t isolated = try_isolated(factory);
    return isolated < next ? isolated : next;
}
