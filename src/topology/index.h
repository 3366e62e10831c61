/* SPDX-License-Identifier: MIT */
/* Finds the things of a topology by their names. */
#ifndef CNY_TOPOLOGY_INDEX_H
#define CNY_TOPOLOGY_INDEX_H

#include "topology/topology.h"

#define CNY_NOT_FOUND SIZE_MAX

/* The thing at that position of its owner is the wanted one. */
typedef bool cny_index_is(const void *owner, size_t position, const void *wanted);

size_t cny_index_find(const cny_name_index *index, uint32_t hash, cny_index_is *is, const void *owner,
                      const void *wanted);
bool cny_index_reserve(cny_name_index *index); /* room for another thing; false without memory */
void cny_index_add(cny_name_index *index, uint32_t hash, size_t position);
void cny_index_clear(cny_name_index *index); /* keeps its memory */
void cny_index_free(cny_name_index *index);

#endif
