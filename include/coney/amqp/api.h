/* SPDX-License-Identifier: MIT */
/* What every public header needs: the export mark, C++ linkage, printf checks. */
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
