/* SPDX-License-Identifier: MIT */
/* The version that the library was built with. */
#include <coney/amqp/version.h>

const char *coney_version(void)
{
    return CONEY_VERSION;
}

int coney_version_number(void)
{
    return CONEY_VERSION_NUMBER;
}
