/* SPDX-License-Identifier: MIT */
/* The export mark and C++ linkage, for every public header.
 *
 * The ABI. A program that was compiled with one version of the library runs with each later version of the same SONAME,
 * which is libconey.so.0.1 for all versions 0.1.x. (While the major version is 0, a new minor version may break
 * programs.) These changes come only with a new SONAME, because structs carry no size, contain each other and are
 * filled by the library: any change of a public struct, a new member at its end included; a removed function; another
 * type of a parameter, result or constant. New functions, and new constants at the end of an enum, may come with any
 * version, so a switch over such an enum needs a default. */
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
