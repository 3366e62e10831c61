/* SPDX-License-Identifier: MIT */
/* The registry of what is to be declared, as the files of this folder use it. All functions are called with the
 * factory's lock held, unless said otherwise. */
#ifndef CNY_FACTORY_REGISTRY_H
#define CNY_FACTORY_REGISTRY_H

#include "rabbit/factory/declarations.h"

/* ---- what does not change; any thread, without the lock ---- */

uint32_t cny_hash_name(const char *name);
bool cny_is_binding(const cny_declaration *item);
const char *cny_declaration_name(const cny_declaration *item); /* of a binding: its destination */
const char *cny_binding_source(const cny_declaration *binding);
bool cny_is_named(const cny_declaration *item, cny_declaration_kind kind, const char *name, uint32_t hash);
bool cny_is_bound_from(const cny_declaration *item, const char *exchange, uint32_t hash);

/* ---- all items of all sets, one after another ---- */

typedef struct cny_walk {
    cny_declaration_set **sets;
    size_t set_count, set, item;
} cny_walk;

cny_walk cny_walk_begin(const coney_connection_factory *factory);
cny_declaration *cny_walk_next(cny_walk *one); /* NULL after the last one */

/* ---- states ---- */

/* The one place where the state of an item changes. */
void cny_declaration_set_to(coney_connection_factory *factory, cny_declaration *item, cny_declaration_state state);

/* The item is wanted, and due at once, as if it had never been tried. An item that must be isolated stays as it is, and
 * keeps its pauses; want_now: that one, too, because somebody asks for it. */
void cny_declaration_want(coney_connection_factory *factory, cny_declaration *item);
void cny_declaration_want_now(coney_connection_factory *factory, cny_declaration *item);

/* The item was refused: it is due after a pause, longer than the last one and at most this long. */
void cny_declaration_delay(cny_declaration *item, int most_ms);

/* The item is declared when it is due. */
bool cny_declaration_is_missing(const cny_declaration *item);

/* The item has CONEY_REFUSAL_FAIL, and its repetitions are used up. */
bool cny_declaration_is_last_attempt(const cny_declaration *item);

/* Fills in what the program is told of an item. */
void cny_declaration_describe(const cny_declaration *item, coney_declaration *declaration);

/* One item has cost connections or had no answer. All that is wanted may do the same, so it is declared on the isolated
 * connection, too, and the other connections can be used. Returns how many items these are. */
size_t cny_declarations_isolate_wanted(coney_connection_factory *factory);

/* ---- what is due ---- */

/* Appends the items of these sets and that kind that are due and that a connection of that role may declare. isolated:
 * those that must be isolated but not alone, the one that was tried longest ago first, because a run ends with the
 * first items that have no answer. False without memory. */
bool cny_declarations_collect(const cny_buffer *sets, cny_declaration_kind kind, coney_connection_role role,
                              bool isolated, cny_buffer *items);

/* When the next item is due that a connection of that role may declare. isolated: of those that must be isolated. */
int64_t cny_declarations_next_due(const coney_connection_factory *factory, coney_connection_role role, bool isolated);

/* ---- bindings ---- */

/* Wants the bindings whose queue or exchange is among these names. The names are hashes, and sorted. */
void cny_declarations_sort_names(uint32_t *names, size_t count);
bool cny_declarations_has_name(const uint32_t *names, size_t count, uint32_t hash);
void cny_declarations_want_bindings(coney_connection_factory *factory, const uint32_t *names, size_t count);

/* The broker says that the binding's queue or exchange is missing. True if that is wanted. If the last refusal was that
 * another connection has the queue exclusively, that is over, so the queue is due at once. */
bool cny_declarations_await_end(coney_connection_factory *factory, const cny_declaration *binding);

#endif
