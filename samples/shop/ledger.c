/* SPDX-License-Identifier: MIT */
/* Appends order ids to a ledger.
 *
 * One write() with O_APPEND per id, no buffer of our own: once it returns the line is the kernel's,
 * and SIGKILL cannot take it back. (A power cut could; a shop with real money would fsync.) */
#include "ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int ledger_open(const char *name)
{
    const char *directory = getenv("SHOP_DIR");
    char path[1024];
    int length = snprintf(path, sizeof path, "%s/%s.ledger", directory ? directory : ".", name);
    if (length < 0 || (size_t)length >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
}

bool ledger_append(int ledger, int64_t id)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%0*" PRId64 "\n", LEDGER_LINE - 1, id);
    return write(ledger, line, (size_t)length) == length;
}
