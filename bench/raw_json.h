/* SPDX-License-Identifier: MIT */
/* The JSON cases with jansson, by json_by_hand.h. */
#ifndef BENCH_RAW_JSON_H
#define BENCH_RAW_JSON_H

#include "conversion.h"

const codec *raw_json_codec(const bench_case *one);

#endif
