/* SPDX-License-Identifier: MIT */
/* A plan: how the topology of an admin compares with what the broker has. Making a plan changes nothing;
 * coney_admin_apply() does what a plan says. (Spring has no such thing; its context declares, or fails.) */
#ifndef CONEY_RABBIT_PLAN_H
#define CONEY_RABBIT_PLAN_H

#include <coney/amqp/inventory.h>
#include <coney/rabbit/admin.h>
#include <coney/rabbit/declaration.h>

CONEY_BEGIN

typedef enum coney_plan_state {
    CONEY_PLAN_UNKNOWN = 0, /* The broker does not say: bindings without an inventory, or no permission. */
    CONEY_PLAN_MISSING,     /* In the topology, not at the broker. */
    CONEY_PLAN_THERE,       /* At the broker. Without an inventory nobody can tell with which properties. */
    CONEY_PLAN_SAME,        /* At the broker as it is declared. */
    CONEY_PLAN_DIFFERENT,   /* At the broker, with other properties. */
    CONEY_PLAN_EXTRA,       /* At the broker, in no topology and with no listener of the factory. */
} coney_plan_state;

/* Texts are views that live as long as the plan. */
typedef struct coney_difference {
    const char *field; /* Its name in coney_queue or coney_exchange, or the argument's if there is none. */
    const char *declared;
    const char *existing;
    const char *policy; /* The policy that sets the existing value. NULL: the thing itself has the value. */
} coney_difference;

typedef struct coney_plan_entry {
    coney_declaration_kind kind;
    coney_plan_state state;
    const char *name;          /* Of the queue or exchange; of a binding's destination. */
    coney_binding binding;     /* If it is one. */
    coney_queue_kind existing; /* The kind of the queue at the broker. CONEY_QUEUE_DEFAULT: not known. */
    const coney_difference *differences;
    size_t difference_count;

    /* The queue has to be replaced if it is to become as it is declared, because a queue's own arguments cannot be
     * changed. Then these sentences say who uses the queue by its name and must be moved to the new one: listeners and
     * templates of the factory, queues that dead-letter to it, consumers that the inventory names. Nobody can see which
     * other programs send to the queue through the default exchange. */
    bool must_be_replaced;
    const char *const *users;
    size_t user_count;

    const char *text; /* One sentence. */
} coney_plan_entry;

typedef struct coney_plan coney_plan;

/* Compares the admin's topology with the broker. inventory NULL: asks the broker by passive declarations, which tell
 * only whether a thing is there; over up to 41 channels of the consuming connection, so a thousand things take seconds.
 * Otherwise nothing is asked, and the inventory, which is borrowed for the call, says what there is. The caller frees
 * the plan. Any thread. Statuses as all functions of the admin have. */
CONEY_API coney_status coney_admin_plan(coney_plan **plan, coney_admin *admin, const coney_inventory *inventory);
CONEY_API void coney_plan_free(coney_plan *plan);

/* The entries: exchanges, queues, bindings of the topology, then what is extra. NULL past the last one. */
CONEY_API size_t coney_plan_size(const coney_plan *plan);
CONEY_API const coney_plan_entry *coney_plan_at(const coney_plan *plan, size_t index);

CONEY_API const char *coney_plan_state_name(coney_plan_state state); /* Such as "MISSING". */

/* Gives the plan as text for people, a line for each entry and each user of a queue, to be freed with
 * coney_text_free(). Entries that need nothing are counted, not listed. CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY.
 */
CONEY_API coney_status coney_plan_text(const coney_plan *plan, char **text);

/* ---- applying ---- */

/* The safe way to other arguments. The new queue has the properties that the topology declares for the old one. It gets
 * the bindings of the old queue first; then the old queue loses them, its messages are moved to the new queue, each
 * with a confirm before its acknowledgement, and at last it is deleted, when nobody consumes it and it is empty. Each
 * step may be done before: after an interruption the same call, with a plan made anew with an inventory, goes on. A
 * copy has no user id. A message that somebody sends to a quorum queue by its name between the last count and the
 * deletion is deleted with the queue. The admin's topology has the new queue afterwards; the program's own topology,
 * listeners and senders must be changed to the new name. */
typedef struct coney_queue_change {
    const char *queue;    /* The old one. Its name cannot remain, because AMQP renames nothing. */
    const char *new_name; /* Of the queue that remains. */
} coney_queue_change;

/* Runs before each step, on the calling thread, with a sentence such as "bind queue 'b' to exchange 'e'". The log has
 * the same sentences. */
typedef void coney_apply_callback(const char *step, void *user);

/* Zero means the default: what is missing is declared, and nothing else is done. Lists of names end with NULL. */
typedef struct coney_apply_options {
    const char *const *delete_queues;     /* Extra queues, which must be empty and unused. */
    const char *const *delete_exchanges;  /* Extra exchanges to which nothing is bound. */
    const coney_binding *remove_bindings; /* Extra bindings. */
    size_t remove_binding_count;
    const coney_queue_change *changes;
    size_t change_count;
    int drain_timeout_ms; /* For one queue to be emptied, and for the broker to say so. Default: 600,000. */
    coney_apply_callback *on_step;
    void *user;
} coney_apply_options;

typedef struct coney_apply_report {
    size_t declared; /* Things that were missing. */
    size_t deleted;
    size_t bound;
    size_t unbound;
    uint64_t moved; /* Messages. */

    /* An upper limit of the messages that may come twice: those that arrived while both queues were bound, and those
     * that were in hand when an earlier drain was interrupted. */
    uint64_t may_come_twice;
} coney_apply_report;

/* Does what a plan of this admin says, as far as the options ask for it. What has changed since the plan was made is
 * noticed by the broker, and is the status. options and report may be NULL. Any thread but a callback's or handler's.
 * Waits, at most the admin's timeout for each answer and drain_timeout_ms for each queue. Statuses as all functions of
 * the admin have, and:
 * - CONEY_E_INVALID: the options name a thing that the plan does not call extra, or a queue that need not be replaced.
 * - CONEY_E_STATE: consumers or senders keep the old queue from being empty and unused; the sentence names them. It is
 *   not deleted, and nothing is lost. The call may be repeated. Or: called from a callback. */
CONEY_API coney_status coney_admin_apply(coney_admin *admin, const coney_plan *plan, const coney_apply_options *options,
                                         coney_apply_report *report);

CONEY_END

#endif
