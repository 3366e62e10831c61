/* SPDX-License-Identifier: MIT */
/* Two hashes of bytes. A quick one; and one with a secret key (SipHash-1-3), for bytes from outside, so that nobody can
 * choose many that have the same hash. Any thread. */
#include "base/base.h"

#include <string.h>
#include <sys/random.h>

/* FNV-1a. */
uint32_t cny_hash(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 16777619U;
    return hash;
}

/* ---- with a key ---- */

static uint64_t key[2]; /* of this process */

static void make_key(void)
{
    if (getrandom(key, sizeof key, GRND_NONBLOCK) == sizeof key)
        return;
    key[0] = (uint64_t)cny_now_us() * UINT64_C(0x9E3779B97F4A7C15); /* early at boot there is nothing better */
    key[1] = (uint64_t)(uintptr_t)&key ^ key[0] << 32;
}

static uint64_t rotate(uint64_t word, int bits)
{
    return word << bits | word >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    for (int i = 0; i < rounds; i++) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

static void take(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v, 1);
    v[0] ^= word;
}

uint64_t cny_hash_keyed(const void *bytes, size_t size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_key);
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const uint8_t *at = bytes;
    uint64_t word, last = (uint64_t)size << 56;
    size_t left = size;
    for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        take(v, word);
    }
    for (size_t i = 0; i < left; i++)
        last |= (uint64_t)at[i] << (8 * i);
    take(v, last);
    v[2] ^= 0xff;
    mix(v, 3);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
