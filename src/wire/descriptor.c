/* SPDX-License-Identifier: MIT */
/* See descriptor.h. Any thread. */
#include "wire/descriptor.h"

#include <sys/stat.h>
#include <unistd.h>

cny_descriptor cny_descriptor_of(int fd)
{
    struct stat file;
    if (fd >= 0 && fstat(fd, &file) != 0) {
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        return (cny_descriptor){.fd = -1};
    return (cny_descriptor){.fd = fd, .device = file.st_dev, .inode = file.st_ino};
}

bool cny_descriptor_is_ours(const cny_descriptor *descriptor)
{
    struct stat file;
    return descriptor->fd >= 0 && fstat(descriptor->fd, &file) == 0 && file.st_dev == descriptor->device &&
           file.st_ino == descriptor->inode;
}

void cny_descriptor_close(cny_descriptor *descriptor)
{
    if (cny_descriptor_is_ours(descriptor))
        close(descriptor->fd);
    descriptor->fd = -1;
}
