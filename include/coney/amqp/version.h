/* SPDX-License-Identifier: MIT */
/* The version of Coney: of the headers (macros, when a program is compiled) and of the library (functions, when the
 * program runs). The two differ after the library was replaced by a later version with the same SONAME.
 *
 * Thread-safe. CMake reads the version of the project from this file. */
#ifndef CONEY_AMQP_VERSION_H
#define CONEY_AMQP_VERSION_H

#include <coney/amqp/api.h>

CONEY_BEGIN

#define CONEY_VERSION_MAJOR 0
#define CONEY_VERSION_MINOR 1
#define CONEY_VERSION_PATCH 0

/* A number that grows with each version, to compare: #if CONEY_VERSION_NUMBER >= CONEY_VERSION_OF(0, 2, 0) */
#define CONEY_VERSION_OF(major, minor, patch) ((major)*1000000 + (minor)*1000 + (patch))
#define CONEY_VERSION_NUMBER CONEY_VERSION_OF(CONEY_VERSION_MAJOR, CONEY_VERSION_MINOR, CONEY_VERSION_PATCH)

/* The version as text, such as "0.1.0". */
#define CONEY_VERSION CONEY_VERSION_TEXT_(CONEY_VERSION_MAJOR, CONEY_VERSION_MINOR, CONEY_VERSION_PATCH)
#define CONEY_VERSION_TEXT_(major, minor, patch) CONEY_VERSION_JOIN_(major, minor, patch)
#define CONEY_VERSION_JOIN_(major, minor, patch) #major "." #minor "." #patch

/* CONEY_VERSION of the library that runs. Static: never free the text. */
CONEY_API const char *coney_version(void);

/* CONEY_VERSION_NUMBER of the library that runs. */
CONEY_API int coney_version_number(void);

CONEY_END

#endif
