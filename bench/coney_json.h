/* SPDX-License-Identifier: MIT */
/* The JSON cases with Coney, by tables. */
#ifndef BENCH_CONEY_JSON_H
#define BENCH_CONEY_JSON_H

#include "conversion.h"

const codec *coney_json_codec(const bench_case *one);

#endif
