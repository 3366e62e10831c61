/* SPDX-License-Identifier: MIT */
/* Anonymous queues: their checks, and the names that are made up for them. Any thread. */
#include "amqp/amqp.h"
#include "topology/fields.h"

#include <string.h>

#define DEFAULT_PREFIX "spring.gen-"
enum { RANDOM_CHARACTERS = 22 };

static void write_base64(char to[RANDOM_CHARACTERS], const uint8_t random[16])
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (size_t i = 0; i < RANDOM_CHARACTERS; i++) {
        size_t bit = i * 6, byte = bit / 8;
        unsigned pair = (unsigned)random[byte] << 8 | (byte < 15 ? random[byte + 1] : 0);
        to[i] = alphabet[pair >> (10 - bit % 8) & 63];
    }
}

coney_status coney_queue_make_name(char name[CONEY_NAME_SIZE], const char *prefix)
{
    CNY_DISABLE_CANCEL();
    uint8_t random[16];
    size_t size = strlen(prefix ? prefix : DEFAULT_PREFIX);
    if (!name)
        return cny_fail(CONEY_E_INVALID, "make a queue name: name is NULL");
    if (cny_check_name("the prefix of an anonymous queue's name", prefix) != CONEY_OK)
        return CONEY_E_INVALID;
    if (size + RANDOM_CHARACTERS >= CONEY_NAME_SIZE)
        return cny_fail(CONEY_E_INVALID, "the prefix of an anonymous queue's name has %zu bytes; at most %d are left",
                        size, CONEY_NAME_SIZE - 1 - RANDOM_CHARACTERS);
    if (!cny_uuid_bytes(random))
        return cny_fail(CONEY_E_SYSTEM, "the system gives no random numbers for a queue's name");
    memcpy(name, prefix ? prefix : DEFAULT_PREFIX, size);
    write_base64(name + size, random);
    name[size + RANDOM_CHARACTERS] = '\0';
    return CONEY_OK;
}

coney_status cny_check_anonymous(const coney_queue *queue)
{
    if (queue->name && *queue->name)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s' is anonymous and has a name; leave out one of the two. name_prefix sets how the "
                        "name begins",
                        queue->name);
    if (queue->external)
        return cny_fail(CONEY_E_INVALID, "an anonymous queue is external; nobody else can declare a queue whose name "
                                         "nobody knows");
    return CONEY_OK;
}

coney_status cny_queue_resolve(coney_queue *resolved, char name[CONEY_NAME_SIZE], const coney_queue *queue)
{
    *resolved = *queue;
    if (!queue->anonymous)
        return CONEY_OK;
    coney_status status = cny_check_anonymous(queue);
    if (status == CONEY_OK)
        status = coney_queue_make_name(name, queue->name_prefix);
    resolved->name = name;
    resolved->anonymous = false;
    resolved->name_prefix = NULL;
    resolved->transient = resolved->exclusive = resolved->auto_delete = true;
    return status;
}
