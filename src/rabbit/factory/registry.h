/* SPDX-License-Identifier: MIT */
/* What the files of this folder share of the registry. All functions are for the thread that has the factory's lock,
 * unless said otherwise. */
#ifndef CNY_FACTORY_REGISTRY_H
#define CNY_FACTORY_REGISTRY_H

#include "rabbit/factory/declarations.h"

uint32_t cny_hash_name(const char *name); /* any thread */

/* ---- walking ---- */

/* All items of all sets, one after another. */
typedef struct cny_walk {
    cny_declaration_set **sets;
    size_t set_count, set, item;
} cny_walk;

cny_declaration_set **cny_sets_of(const coney_connection_factory *factory, size_t *count);
cny_walk cny_walk_begin(const coney_connection_factory *factory);
cny_declaration *cny_walk_next(cny_walk *one); /* NULL after the last */

/* Of what is fixed: any thread. */
bool cny_is_binding(const cny_declaration *item);
const char *cny_declaration_name(const cny_declaration *item); /* of a binding its destination */
const char *cny_binding_source(const cny_declaration *binding);
bool cny_is_named(const cny_declaration *item, cny_declaration_kind kind, const char *name, uint32_t hash);
bool cny_is_bound_from(const cny_declaration *item, const char *exchange, uint32_t hash);

/* ---- states ---- */

/* At once, as if it had never been tried; but one over which connections were lost keeps its pauses. */
void cny_declaration_want(coney_connection_factory *factory, cny_declaration *item);

/* The same, but without pauses: somebody asks for it now. */
void cny_declaration_want_now(coney_connection_factory *factory, cny_declaration *item);

/* The item was refused: it is due after a pause, longer than the last one and at most this long. */
void cny_declaration_delay(cny_declaration *item, int most_ms);

/* It is to be declared, as soon as it is due. */
bool cny_declaration_is_missing(const cny_declaration *item);

/* One thing has cost connections or had no answer: all else that is wanted, which may do the same, is declared on the
 * isolated connection, too, so that the others can be used. Gives the number of these things. */
size_t cny_declarations_leave_out(coney_connection_factory *factory);

/* Appends the items of that kind that are due and can be declared by that role, of the sets given; isolated: suspects
 * that need not be alone, those first that were tried longest ago: a run ends with the first that have no answer. False
 * without memory. */
bool cny_declarations_collect(const cny_buffer *sets, cny_declaration_kind kind, coney_connection_role role,
                              bool isolated, cny_buffer *items);

/* When the next thing is due that a connection of that role can declare; isolated: of suspects. */
int64_t cny_declarations_next_due(const coney_connection_factory *factory, coney_connection_role role, bool isolated);
void cny_declaration_set_to(coney_connection_factory *factory, cny_declaration *item, cny_declaration_state state);

/* Wants the bindings that have an end among these names, of which the hashes are given, sorted. */
void cny_declarations_sort_names(uint32_t *names, size_t count);
void cny_declarations_want_bindings(coney_connection_factory *factory, const uint32_t *names, size_t count);

/* The broker says that the binding's queue or exchange is missing: whether that is wanted, too. A queue that another
 * connection had exclusively is free then, so the queue is declared at once. */
bool cny_declarations_await_end(coney_connection_factory *factory, const cny_declaration *binding);

/* Copies what is told of an item. */
void cny_declaration_describe(const cny_declaration *item, coney_declaration *declaration);

#endif
