/* SPDX-License-Identifier: MIT */
/* Declares what is wanted and due: many requests on their way at a time, over several channels when there is much,
 * exchanges before queues before bindings. A refusal costs its channel; what was sent there after the refused thing is
 * sent again on another one.
 *
 * Runs on a thread of its own, for as long as it takes: the recovery thread has the deadlines of confirms to keep, and
 * the I/O thread has to bring the answers. */
#include "rabbit/connection/internal.h"
#include "rabbit/connection/isolation.h"

#include <stdio.h>
#include <string.h>

#define WINDOW 64            /* declarations on their way on a channel */
#define MOST_CHANNELS 8      /* a broker with an empty data directory takes half the time over eight of them */
#define ENOUGH_FOR_ONE 200   /* declarations; more are worth another channel */
#define LOCKED_DELAY_MS 5000 /* an exclusive queue comes free when the broker has seen the end of its connection */
#define FIRST_DELAY_MS 1000
#define MAX_DELAY_MS 30000
#define TICK_MS 10

/* A channel and what is on its way on it, oldest first. */
typedef struct lane {
    cny_channel *channel; /* NULL: none is open */
    cny_declaration *sent[WINDOW];
    size_t count;
} lane;

typedef struct run {
    coney_connection_factory *factory; /* a reference */
    cny_connection *connection;        /* a reference */
    cny_buffer sets;                   /* of cny_declaration_set *, references */
    cny_buffer items;                  /* of cny_declaration *, of one kind: to be sent, from next on */
    size_t next;
    cny_buffer to_look;  /* of cny_declaration *: refused, but they may be there */
    cny_buffer declared; /* of uint32_t: the names' hashes of exchanges and queues */
    lane lanes[MOST_CHANNELS];
    bool is_isolated; /* the connection is for this run only */
    bool is_passive;
    bool is_over; /* the connection is lost, or no memory is left */
    int64_t answered_ms;
} run;

/* ---- what is told ---- */

static void describe_request(const cny_declaration *item, char *text, size_t size)
{
    if (item->kind == CNY_DECLARE_EXCHANGE) {
        snprintf(text, size, "declare exchange '%s'", ((const coney_exchange *)item->thing)->name);
    } else if (item->kind == CNY_DECLARE_QUEUE) {
        snprintf(text, size, "declare queue '%s'", ((const coney_queue *)item->thing)->name);
    } else {
        const coney_binding *binding = item->thing;
        snprintf(text, size, "bind %s '%s' to exchange '%s' with routing key '%s'",
                 binding->to_exchange ? "exchange" : "queue", binding->destination, binding->exchange,
                 binding->routing_key ? binding->routing_key : "");
    }
}

static const char *way_out(const cny_declaration *item, const coney_error *error)
{
    bool is_there = item->state == CNY_DECLARATION_FOUND;
    if (error->status == CONEY_E_PRECONDITION_FAILED && is_there)
        return "; it is there with other properties. To change them set a policy, take another name, or delete it "
               "first";
    if (error->status == CONEY_E_ACCESS_REFUSED && is_there)
        return item->kind == CNY_DECLARE_QUEUE || item->kind == CNY_DECLARE_EXCHANGE
                   ? "; it is there and is used as it is"
                   : "; whether it is there cannot be seen without that permission";
    if (error->status == CONEY_E_NOT_FOUND)
        return "; it is bound as soon as that is declared";
    return "";
}

/* Without a lock: whoever wants to know that a declaration was refused, or is made after all. */
static void tell(coney_connection_factory *factory, const coney_declaration *news)
{
    bool is_refused = news->state != CONEY_DECLARATION_DECLARED;
    if (is_refused)
        cny_log(CONEY_LOG_WARN, "%s", news->text);
    else
        cny_log(CONEY_LOG_INFO, "declared after all, after: %s", news->text);
    cny_tell_declaration(factory, news);
    cny_buffer members = {0};
    pthread_mutex_lock(&factory->lock);
    bool got = is_refused && cny_factory_members(factory, &members);
    pthread_mutex_unlock(&factory->lock);
    const cny_membership *all = (const cny_membership *)(const void *)members.data;
    for (size_t i = 0; got && i < members.size / sizeof *all; i++) {
        if (all[i].member->on_declaration)
            all[i].member->on_declaration(all[i].self, news);
    }
    cny_members_free(&members);
}

/* ---- outcomes ---- */

/* Under lock. */
static void set_error(cny_declaration *item, cny_error *error)
{
    const coney_error *old = cny_error_view(item->error), *new = cny_error_view(error);
    if (old && new &&strcmp(old->text, new->text) != 0)
        item->is_told = false;
    cny_error_unref(item->error);
    item->error = error ? cny_error_ref(error) : NULL;
}

static void delay_next(cny_declaration *item, int most_ms)
{
    item->delay_ms = cny_backoff(item->delay_ms, FIRST_DELAY_MS, 2, most_ms);
    item->due_at = cny_deadline(item->delay_ms);
}

static bool may_be_there(const cny_declaration *item, coney_status status)
{
    bool is_named = item->kind == CNY_DECLARE_EXCHANGE || item->kind == CNY_DECLARE_QUEUE;
    return is_named && (status == CONEY_E_PRECONDITION_FAILED || status == CONEY_E_ACCESS_REFUSED);
}

/* Under lock: what the broker's refusal means. A binding cannot be looked at; who may not bind has others who do. */
static cny_declaration_state state_after(const coney_connection_factory *factory, const cny_declaration *item,
                                         const coney_error *error)
{
    bool is_binding = item->kind == CNY_DECLARE_EXCHANGE_BINDING || item->kind == CNY_DECLARE_QUEUE_BINDING;
    bool may_pass = error->status == CONEY_E_RESOURCE_LOCKED || error->status == CONEY_E_TIMEOUT ||
                    error->status == CONEY_E_LOST || error->broker_code == CNY_INTERNAL_ERROR;
    if (is_binding && error->status == CONEY_E_ACCESS_REFUSED)
        return CNY_DECLARATION_FOUND;
    if (is_binding && error->status == CONEY_E_NOT_FOUND && cny_declarations_have_wanted_end(factory, item->thing))
        return CNY_DECLARATION_WANTED;
    return may_pass ? CNY_DECLARATION_WANTED : CNY_DECLARATION_REFUSED;
}

/* Under lock: takes down what is to be told; false if nothing is. */
static bool take_news(cny_declaration *item, coney_declaration *news)
{
    bool is_refusal = item->state != CNY_DECLARATION_DECLARED;
    if (is_refusal == item->is_told || (is_refusal && !item->error))
        return false;
    item->is_told = is_refusal;
    cny_declaration_describe(item, news);
    return true;
}

/* Under lock: the connection was lost meanwhile, and everything is wanted again. */
static bool is_outdated(const run *one)
{
    return !one->is_isolated && one->factory->links[one->connection->role].connection != one->connection;
}

/* The item's state is known: error is NULL if the broker has declared it. */
static void conclude(run *one, cny_declaration *item, cny_declaration_state state, cny_error *error)
{
    coney_declaration news;
    coney_connection_factory *factory = one->factory;
    bool has_news = false;
    pthread_mutex_lock(&factory->lock);
    if (is_outdated(one)) {
        pthread_mutex_unlock(&factory->lock);
        return;
    }
    if (item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_REFUSED)
        cny_declaration_set_to(factory, item, state);
    if (state == CNY_DECLARATION_DECLARED) {
        has_news = take_news(item, &news);
        set_error(item, NULL);
        cny_strikes_clear(&item->strikes);
        item->delay_ms = 0;
    } else {
        set_error(item, error);
        delay_next(item, cny_error_view(error)->status == CONEY_E_RESOURCE_LOCKED ? LOCKED_DELAY_MS : MAX_DELAY_MS);
        has_news = take_news(item, &news);
    }
    pthread_mutex_unlock(&factory->lock);
    if (has_news)
        tell(factory, &news);
}

/* This thread's last error is the broker's refusal. Gives the sentence about the item. */
static cny_error *make_refusal(const cny_declaration *item)
{
    char request[1024];
    const coney_error *error = coney_last_error_details();
    describe_request(item, request, sizeof request);
    return cny_error_new(error->status, error->broker_code, "%s: %s%s", request, error->text, way_out(item, error));
}

/* This thread's last error is why the item was not declared. */
static void on_refused(run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    coney_connection_factory *factory = one->factory;
    if (may_be_there(item, error->status) && cny_buffer_append(&one->to_look, &item, sizeof(cny_declaration *))) {
        cny_error_unref(item->refusal);
        item->refusal = make_refusal(item);
        return;
    }
    bool is_suspicion = cny_last_is_suspicion();
    pthread_mutex_lock(&factory->lock);
    if (is_suspicion)
        cny_strike(&item->strikes, cny_now_ms());
    bool is_suspect_only = is_suspicion && !one->is_isolated;
    cny_declaration_state state = state_after(factory, item, error);
    pthread_mutex_unlock(&factory->lock);
    cny_error *refusal = make_refusal(item);
    if (!is_suspect_only) /* it may have been another request, and the next connection tells */
        conclude(one, item, state, refusal);
    cny_error_unref(refusal);
}

/* The second answer, to whether it is there. */
static void on_looked(run *one, cny_declaration *item, bool is_there)
{
    const coney_error *refusal = cny_error_view(item->refusal);
    cny_declaration_state state = is_there ? CNY_DECLARATION_FOUND : CNY_DECLARATION_REFUSED;
    const cny_declaration as_it_is = {.kind = item->kind, .state = state};
    cny_error *told =
        cny_error_new(refusal->status, refusal->broker_code, "%s%s", refusal->text, way_out(&as_it_is, refusal));
    conclude(one, item, state, told);
    cny_error_unref(told);
    cny_error_unref(item->refusal);
    item->refusal = NULL;
}

static void on_answered(run *one, cny_declaration *item)
{
    one->answered_ms = cny_now_ms();
    if (one->is_passive) {
        on_looked(one, item, true);
        return;
    }
    bool has_bindings = item->kind == CNY_DECLARE_EXCHANGE || item->kind == CNY_DECLARE_QUEUE;
    conclude(one, item, CNY_DECLARATION_DECLARED, NULL);
    if (has_bindings)
        cny_buffer_append(&one->declared, &item->name_hash, sizeof item->name_hash);
}

/* The oldest on its way has no answer, for what this thread's last error tells. */
static void on_not_answered(run *one, cny_declaration *item)
{
    const coney_error *error = coney_last_error_details();
    bool is_suspicion = cny_last_is_suspicion();
    bool is_loss = error->broker_code == 0 && error->status != CONEY_E_TIMEOUT && error->status != CONEY_E_INVALID;
    if (!is_suspicion && (is_loss || error->status == CONEY_E_LOST)) { /* it is wanted still */
        one->is_over = true;
        return;
    }
    if (error->broker_code != 0)
        one->answered_ms = cny_now_ms();
    if (one->is_passive && error->broker_code != 0 && !is_suspicion)
        on_looked(one, item, error->status == CONEY_E_RESOURCE_LOCKED);
    else
        on_refused(one, item);
}

/* ---- sending ---- */

static size_t left_to_send(const run *one)
{
    return one->items.size / sizeof(cny_declaration *) - one->next;
}

static bool open_channel(run *one, lane *to, int timeout_ms)
{
    coney_status status = cny_channel_open_on(&to->channel, one->connection, true, cny_deadline(timeout_ms));
    if (status != CONEY_OK) {
        to->channel = NULL;
        one->is_over = true;
    }
    return status == CONEY_OK;
}

static void close_channel(lane *of)
{
    cny_channel_close(of->channel);
    cny_channel_unref(of->channel);
    of->channel = NULL;
}

/* Sends until the window is full. What cannot be encoded has its answer. */
static void send_some(run *one, lane *to)
{
    cny_declaration **items = (cny_declaration **)(void *)one->items.data;
    while (to->count < WINDOW && left_to_send(one) > 0 && !one->is_over) {
        cny_declaration *item = items[one->next];
        if (!to->channel && !open_channel(one, to, item->timeout_ms))
            return;
        coney_status status = cny_channel_send_declaration(to->channel, item->kind, item->thing, one->is_passive);
        if (status == CONEY_OK)
            to->sent[to->count++] = item;
        else if (status == CONEY_E_INVALID)
            on_refused(one, item);
        else /* the channel is gone: the oldest on its way tells why, or there is none and another one is opened */
            break;
        one->next++;
    }
    if (to->channel && to->count == 0 && !cny_channel_alive(to->channel))
        close_channel(to);
}

/* ---- answers ---- */

static void drop_oldest(lane *of, size_t count)
{
    of->count -= count;
    memmove(of->sent, of->sent + count, of->count * sizeof *of->sent);
}

/* The channel is gone, and with it what was sent after the oldest: that is sent again. */
static void send_again(run *one, lane *of)
{
    if (!one->is_over && !cny_buffer_append(&one->items, of->sent, of->count * sizeof *of->sent))
        one->is_over = true; /* what is left is wanted, and the next run has it */
    of->count = 0;
    close_channel(of);
}

/* Nothing was answered for as long as a call may take: the peer is not there. */
static void check_silence(run *one, const cny_declaration *item)
{
    if (coney_last_error_details()->status != CONEY_E_TIMEOUT ||
        cny_now_ms() - one->answered_ms < item->timeout_ms - TICK_MS)
        return;
    cny_fail_in("declare the topology");
    cny_connection_abort(one->connection);
    one->is_over = true;
}

/* Waits until no more than so many are on their way. */
static void settle(run *one, lane *of, size_t left)
{
    size_t unanswered;
    coney_status status = cny_channel_await_declarations(of->channel, left, of->sent[0]->timeout_ms, &unanswered);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    size_t answered = of->count - unanswered;
    for (size_t i = 0; i < answered; i++)
        on_answered(one, of->sent[i]);
    drop_oldest(of, answered);
    pthread_mutex_lock(&one->factory->lock);
    one->factory->declarations.answers += answered + (status != CONEY_OK && of->count > 0);
    pthread_cond_broadcast(&one->factory->changed);
    pthread_mutex_unlock(&one->factory->lock);
    if (error && of->count > 0) {
        cny_declaration *oldest = of->sent[0];
        cny_error_raise(error);
        check_silence(one, oldest);
        cny_error_raise(error);
        on_not_answered(one, oldest);
        drop_oldest(of, 1);
        send_again(one, of);
    }
    cny_error_unref(error);
}

/* One channel after another is topped up and waited for: the others go on meanwhile. */
static void send_all(run *one)
{
    size_t lanes = 1 + left_to_send(one) / ENOUGH_FOR_ONE;
    bool any = true;
    if (lanes > MOST_CHANNELS)
        lanes = MOST_CHANNELS;
    while (any) {
        any = false;
        for (size_t i = 0; i < lanes && !one->is_over; i++)
            send_some(one, &one->lanes[i]);
        bool is_last = left_to_send(one) == 0 || one->is_over;
        for (size_t i = 0; i < lanes; i++) {
            if (one->lanes[i].count == 0)
                continue;
            any = true;
            bool is_gone = !cny_channel_alive(one->lanes[i].channel);
            settle(one, &one->lanes[i], is_last || is_gone ? 0 : WINDOW / 2);
        }
    }
}

/* ---- a run ---- */

static void clear(cny_buffer *items)
{
    items->size = 0;
}

static void want_bindings_of_declared(run *one)
{
    uint32_t *names = (uint32_t *)(void *)one->declared.data;
    size_t count = one->declared.size / sizeof *names;
    cny_declarations_sort_names(names, count);
    pthread_mutex_lock(&one->factory->lock);
    cny_declarations_want_bindings(one->factory, names, count);
    pthread_mutex_unlock(&one->factory->lock);
    clear(&one->declared);
}

static void declare_kind(run *one, cny_declaration_kind kind)
{
    if (kind == CNY_DECLARE_EXCHANGE_BINDING)
        want_bindings_of_declared(one);
    clear(&one->items);
    one->next = 0;
    pthread_mutex_lock(&one->factory->lock);
    if (!cny_declarations_collect(&one->sets, kind, one->connection->role, &one->items))
        one->is_over = true;
    pthread_mutex_unlock(&one->factory->lock);
    send_all(one);
    clear(&one->items);
    one->next = 0;
    cny_buffer_swap(&one->items, &one->to_look);
    one->is_passive = true;
    send_all(one);
    one->is_passive = false;
}

static void declare_all(run *one)
{
    one->answered_ms = cny_now_ms();
    for (int kind = 0; kind < CNY_DECLARATION_KINDS && !one->is_over; kind++)
        declare_kind(one, (cny_declaration_kind)kind);
    for (size_t i = 0; i < MOST_CHANNELS; i++)
        close_channel(&one->lanes[i]);
}

static void free_run(run *one)
{
    coney_connection_factory *factory = one->factory;
    cny_declaration_set **sets = (cny_declaration_set **)(void *)one->sets.data;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++)
        cny_declaration_set_unref(sets[i]);
    cny_buffer_free(&one->sets);
    cny_buffer_free(&one->items);
    cny_buffer_free(&one->to_look);
    cny_buffer_free(&one->declared);
    cny_connection_unref(one->connection);
    cny_free(one);
    cny_factory_unref(factory);
}

static void *run_main(void *argument)
{
    run *one = argument;
    coney_connection_factory *factory = one->factory;
    declare_all(one);
    pthread_mutex_lock(&factory->lock);
    factory->declarations.running_on = NULL;
    factory->attention = true;
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
    free_run(one);
    return NULL;
}

/* ---- one that is tried alone ---- */

#define ISOLATED_MS 15000 /* to connect; an answer has the item's own time */

/* Under lock: the one that has been due for longest, with a reference to its set. */
static cny_declaration *take_suspect(const run *one)
{
    cny_declaration_set **sets = (cny_declaration_set **)(void *)one->sets.data;
    cny_declaration *first = NULL;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++) {
        for (size_t k = 0; sets[i]->has_joined && k < sets[i]->count; k++) {
            cny_declaration *item = &sets[i]->items[k];
            bool is_due = cny_must_isolate(&item->strikes) && item->due_at <= cny_now_ms();
            if (is_due && (!first || item->due_at < first->due_at))
                first = item;
        }
    }
    return first;
}

/* An exclusive thing goes with this connection: now that it is known to do no harm, it is declared where it belongs. */
static void release_exclusive(const run *one, cny_declaration *item)
{
    pthread_mutex_lock(&one->factory->lock);
    if (item->is_exclusive && item->state == CNY_DECLARATION_DECLARED) {
        cny_declaration_set_to(one->factory, item, CNY_DECLARATION_WANTED);
        item->due_at = 0;
    }
    pthread_mutex_unlock(&one->factory->lock);
}

static void try_alone(run *one, cny_declaration *item)
{
    one->is_over = !cny_buffer_append(&one->items, &item, sizeof(cny_declaration *));
    one->answered_ms = cny_now_ms();
    send_all(one);
    clear(&one->items);
    one->next = 0;
    cny_buffer_swap(&one->items, &one->to_look);
    one->is_passive = true;
    send_all(one);
    one->is_passive = false;
    clear(&one->items);
    one->next = 0;
    close_channel(&one->lanes[0]);
    want_bindings_of_declared(one);
    release_exclusive(one, item);
}

/* There is no connection to try one on. */
static void put_off_suspects(const run *one)
{
    pthread_mutex_lock(&one->factory->lock);
    for (cny_declaration *item; (item = take_suspect(one));)
        item->due_at = cny_deadline(FIRST_DELAY_MS);
    pthread_mutex_unlock(&one->factory->lock);
}

static void *isolate_main(void *argument)
{
    run *one = argument;
    coney_connection_factory *factory = one->factory;
    if (cny_isolated_connection(&one->connection, factory, cny_deadline(ISOLATED_MS)) == CONEY_OK) {
        pthread_mutex_lock(&factory->lock);
        cny_declaration *item = take_suspect(one);
        pthread_mutex_unlock(&factory->lock);
        if (item)
            try_alone(one, item);
        cny_isolated_close(one->connection);
        one->connection = NULL;
    } else {
        put_off_suspects(one);
    }
    pthread_mutex_lock(&factory->lock);
    factory->declarations.isolating = false;
    factory->attention = true;
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
    free_run(one);
    return NULL;
}

/* ---- beginning ---- */

/* Under lock. */
static run *new_run(coney_connection_factory *factory, cny_connection *connection)
{
    run *one = cny_alloc(sizeof *one);
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

/* Under lock; false if that must be tried again. Without a connection it is a trial on the isolated one. */
static bool begin_run(coney_connection_factory *factory, cny_connection *connection)
{
    pthread_t thread;
    run *one = new_run(factory, connection);
    if (!one)
        return false;
    if (cny_thread_start(&thread, "coney-declare", 0, connection ? run_main : isolate_main, one) != CONEY_OK) {
        free_run(one);
        return false;
    }
    pthread_detach(thread);
    if (connection)
        factory->declarations.running_on = connection;
    else
        factory->declarations.isolating = true;
    return true;
}

/* ---- for recovery; under lock ---- */

static bool can_declare(const cny_link *link)
{
    char blocked[256] = "";
    if (!link->connection || cny_connection_get_state(link->connection) != CNY_OPEN)
        return false;
    if (link->role == CONEY_PUBLISHING) /* a broker that holds back publishers reads nothing from them */
        cny_connection_blocked(link->connection, blocked);
    return !*blocked;
}

bool cny_declarations_are_under_way(const coney_connection_factory *factory, coney_connection_role role)
{
    return factory->declarations.running_on || cny_declarations_next_due(factory, role, false) <= cny_now_ms();
}

static int64_t begin_if_due(coney_connection_factory *factory, cny_connection *connection, int64_t due)
{
    if (due > cny_now_ms())
        return due;
    return begin_run(factory, connection) ? INT64_MAX : cny_now_ms() + TICK_MS;
}

/* A suspect is tried only where others have a connection: else the broker is not there. */
static int64_t try_suspects(coney_connection_factory *factory)
{
    bool has_any = can_declare(&factory->links[CONEY_CONSUMING]) || can_declare(&factory->links[CONEY_PUBLISHING]);
    if (factory->declarations.isolating || !has_any)
        return INT64_MAX;
    return begin_if_due(factory, NULL, cny_declarations_next_due(factory, CONEY_CONSUMING, true));
}

int64_t cny_declarations_run_due(coney_connection_factory *factory)
{
    int64_t next = INT64_MAX;
    if (factory->closed)
        return next;
    for (int role = 0; role < CNY_ROLE_COUNT && next == INT64_MAX && !factory->declarations.running_on; role++) {
        const cny_link *link = &factory->links[role]; /* the consuming one first */
        if (can_declare(link))
            next = begin_if_due(factory, link->connection, cny_declarations_next_due(factory, link->role, false));
    }
    int64_t suspects = try_suspects(factory);
    return suspects < next ? suspects : next;
}
