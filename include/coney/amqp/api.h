/* SPDX-License-Identifier: MIT */
/* What every public header needs: the export mark and C++ linkage.
 *
 * The ABI. A program that was compiled with one library runs with each later one of the same SONAME, which is
 * libconey.so.0.1 for all versions 0.1.x (while the major version is 0, a new minor version may break programs). Any
 * change of a public struct, a member at its end included, a removed function, and another type of a parameter, result
 * or constant come with a new SONAME: structs carry no size, stand inside each other and are filled by the library. New
 * functions, and new constants at the end of an enum, come at any time: a switch over such an enum needs a default. */
#ifndef CONEY_AMQP_API_H
#define CONEY_AMQP_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define CONEY_BEGIN extern "C" {
#define CONEY_END }
#else
#define CONEY_BEGIN
#define CONEY_END
#endif

#if defined(__GNUC__)
#define CONEY_API __attribute__((visibility("default")))
#else
#define CONEY_API
#endif

#endif
