/* SPDX-License-Identifier: MIT */
/* Numbers by chance; each state is a sequence of its own. */
#ifndef CHAOS_DICE_H
#define CHAOS_DICE_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct dice {
    atomic_uint_least64_t state;
} dice;

/* splitmix64. Any thread. */
static inline uint32_t dice_roll(dice *these)
{
    uint64_t z = atomic_fetch_add(&these->state, 0x9e3779b97f4a7c15) + 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)(z >> 32);
}

static inline int dice_between(dice *these, int least, int most)
{
    return least + (int)(dice_roll(these) % (uint32_t)(most - least + 1));
}

#endif
