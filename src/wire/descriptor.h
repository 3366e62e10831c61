/* SPDX-License-Identifier: MIT */
/* A descriptor that knows its file. Other parts of the program may close what is not theirs, by closefrom() or by
 * closing a number twice, and the number then becomes another file's. So the file is looked at before the number is
 * used (fstat(), 0.1 to 0.4 microseconds): we neither read from, write to nor close another's file.
 *
 * All are sockets, because each socket has an inode of its own; all eventfds share one. */
#ifndef CNY_WIRE_DESCRIPTOR_H
#define CNY_WIRE_DESCRIPTOR_H

#include <stdbool.h>
#include <sys/types.h>

typedef struct cny_descriptor {
    int fd; /* -1: none */
    dev_t device;
    ino_t inode;
} cny_descriptor;

cny_descriptor cny_descriptor_of(int fd); /* of one that was just opened, or -1 */
bool cny_descriptor_is_ours(const cny_descriptor *descriptor);
void cny_descriptor_close(cny_descriptor *descriptor); /* if it is ours; afterwards it is none */

#endif
