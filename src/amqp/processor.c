/* SPDX-License-Identifier: MIT */
/* Lists of processors, and the processors for message id and timestamp. Any thread.
 *
 * A list never changes: adding and removing put another list in its place. So processors run with no lock held, and a
 * thread goes on with the list that it began with. */
#include "amqp/amqp.h"

#include <string.h>
#include <sys/random.h>
#include <time.h>

/* One processor. It may be in several lists, because old lists live as long as threads run them. */
typedef struct entry {
    atomic_uint refs;
    coney_processor processor;
    char name[CNY_MAX_SHORT_STRING + 1];
} entry;

struct cny_processor_list {
    atomic_uint refs;
    size_t count;
    entry *entries[];
};

void coney_processor_free(coney_processor *processor)
{
    CNY_DISABLE_CANCEL();
    if (!processor)
        return;
    if (processor->free_user)
        processor->free_user(processor->user);
    *processor = (coney_processor){0};
}

/* ---- entries and lists ---- */

static void unref_entry(entry *one)
{
    if (atomic_fetch_sub_explicit(&one->refs, 1, memory_order_acq_rel) != 1)
        return;
    coney_processor_free(&one->processor);
    cny_free(one);
}

static void unref_list(cny_processor_list *list)
{
    if (!list || atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < list->count; i++)
        unref_entry(list->entries[i]);
    cny_free(list);
}

static size_t count_of(const cny_processor_list *list)
{
    return list ? list->count : 0;
}

static cny_processor_list *new_list(size_t room)
{
    cny_processor_list *list = cny_alloc(sizeof *list + room * sizeof *list->entries);
    if (list)
        atomic_init(&list->refs, 1);
    return list;
}

static void append(cny_processor_list *list, entry *one)
{
    atomic_fetch_add_explicit(&one->refs, 1, memory_order_relaxed);
    list->entries[list->count++] = one;
}

static entry *find(const cny_processor_list *list, const char *name)
{
    for (size_t i = 0; i < count_of(list); i++) {
        if (strcmp(list->entries[i]->name, name) == 0)
            return list->entries[i];
    }
    return NULL;
}

/* A copy of the list with the entry `more` or without an entry; both may be NULL. NULL without memory. */
static cny_processor_list *changed_list(const cny_processor_list *list, entry *more, const entry *without)
{
    cny_processor_list *changed = new_list(count_of(list) + 1);
    if (!changed)
        return NULL;
    for (size_t i = 0; i < count_of(list); i++) {
        if (more && more->processor.order < list->entries[i]->processor.order) {
            append(changed, more);
            more = NULL;
        }
        if (list->entries[i] != without)
            append(changed, list->entries[i]);
    }
    if (more)
        append(changed, more);
    return changed;
}

/* ---- changing ---- */

void cny_processors_init(cny_processors *processors)
{
    *processors = (cny_processors){0};
    pthread_mutex_init(&processors->lock, NULL);
}

void cny_processors_free(cny_processors *processors)
{
    unref_list(processors->list);
    pthread_mutex_destroy(&processors->lock);
}

/* Under lock. Gives the list that was there before; the caller drops the reference after unlocking. */
static cny_processor_list *install(cny_processors *processors, cny_processor_list *list)
{
    cny_processor_list *old = processors->list;
    processors->list = list;
    atomic_store_explicit(&processors->any, list->count > 0, memory_order_release);
    return old;
}

static coney_status check_processor(const coney_processor *processor)
{
    if (!processor->name || !*processor->name)
        return cny_fail(CONEY_E_INVALID, "the processor has no name");
    if (!processor->process)
        return cny_fail(CONEY_E_INVALID, "processor '%.255s': process is NULL", processor->name);
    return cny_check_name("processor name", processor->name);
}

static coney_status add(cny_processors *processors, entry *one)
{
    cny_processor_list *list = NULL, *old = NULL;
    pthread_mutex_lock(&processors->lock);
    bool is_taken = find(processors->list, one->name) != NULL;
    if (!is_taken)
        list = changed_list(processors->list, one, NULL);
    if (list)
        old = install(processors, list);
    pthread_mutex_unlock(&processors->lock);
    unref_list(old);
    if (is_taken)
        return cny_fail(CONEY_E_INVALID, "there is a processor '%s' already; remove it or name this one otherwise",
                        one->name);
    return list ? CONEY_OK : cny_fail_memory();
}

coney_status cny_processors_add(cny_processors *processors, const coney_processor *processor)
{
    coney_processor taken = *processor;
    coney_status status = check_processor(&taken);
    entry *one = status == CONEY_OK ? cny_alloc(sizeof *one) : NULL;
    if (!one) {
        coney_processor_free(&taken);
        return status == CONEY_OK ? cny_fail_memory() : status;
    }
    atomic_init(&one->refs, 1);
    memcpy(one->name, taken.name, strlen(taken.name));
    one->processor = taken;
    one->processor.name = one->name;
    status = add(processors, one);
    unref_entry(one);
    return status;
}

coney_status cny_processors_remove(cny_processors *processors, const char *name)
{
    if (!name)
        return cny_fail(CONEY_E_INVALID, "the processor's name is NULL");
    cny_processor_list *list = NULL, *old = NULL;
    pthread_mutex_lock(&processors->lock);
    const entry *one = find(processors->list, name);
    if (one)
        list = changed_list(processors->list, NULL, one);
    if (list)
        old = install(processors, list);
    pthread_mutex_unlock(&processors->lock);
    unref_list(old);
    if (!one)
        return cny_fail(CONEY_E_INVALID, "there is no processor '%.255s'", name);
    return list ? CONEY_OK : cny_fail_memory();
}

/* ---- running ---- */

static coney_status run_one(const entry *one, coney_message **message, const char *exchange, const char *routing_key)
{
    coney_message *before = *message;
    cny_forget_failure();
    coney_status status = one->processor.process(message, exchange, routing_key, one->processor.user);
    if (*message != before)
        coney_message_unref(before);
    if (status == CONEY_OK)
        return status;
    if (coney_last_error_details()->status != status)
        return cny_fail(status, "processor '%s' answered %s without saying why", one->name, coney_status_name(status));
    return cny_fail_in("processor '%s'", one->name);
}

coney_status cny_processors_run(cny_processors *processors, coney_message **message, const char *exchange,
                                const char *routing_key)
{
    if (!cny_processors_any(processors))
        return CONEY_OK;
    pthread_mutex_lock(&processors->lock);
    cny_processor_list *list = processors->list;
    atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&processors->lock);
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && *message && i < list->count; i++)
        status = run_one(list->entries[i], message, exchange, routing_key);
    unref_list(list);
    return status;
}

/* ---- message id and timestamp ---- */

/* A random UUID of RFC 4122, with version and variant in their bits. */
bool cny_uuid_bytes(uint8_t bytes[16])
{
    if (getrandom(bytes, 16, 0) != 16)
        return false;
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    return true;
}

bool cny_uuid(char uuid[37])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t bytes[16];
    if (!cny_uuid_bytes(bytes))
        return false;
    size_t at = 0;
    for (size_t i = 0; i < sizeof bytes; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            uuid[at++] = '-';
        uuid[at++] = digits[bytes[i] >> 4];
        uuid[at++] = digits[bytes[i] & 0x0f];
    }
    uuid[at] = '\0';
    return true;
}

static coney_status set_message_id(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    coney_properties properties = *coney_message_properties(*message);
    if (properties.message_id)
        return CONEY_OK;
    char uuid[37];
    if (!cny_uuid(uuid))
        return cny_fail(CONEY_E_SYSTEM, "the system gives no random numbers for a message id");
    properties.message_id = uuid;
    return coney_message_with(message, *message, &properties, NULL, 0);
}

coney_processor coney_message_id_processor(void)
{
    return (coney_processor){.name = "message-id", .process = set_message_id};
}

static coney_status set_timestamp(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    coney_properties properties = *coney_message_properties(*message);
    if (properties.timestamp != 0)
        return CONEY_OK;
    properties.timestamp = time(NULL);
    return coney_message_with(message, *message, &properties, NULL, 0);
}

coney_processor coney_timestamp_processor(void)
{
    return (coney_processor){.name = "timestamp", .process = set_timestamp};
}
