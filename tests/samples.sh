#!/usr/bin/env bash
# Runs samples under valgrind: they use no memory wrongly, lose none, and leave no thread behind, whose stack valgrind
# takes for lost.
#
#   samples.sh BUILD_DIR
set -euo pipefail
build=$1

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

command -v valgrind >/dev/null || fail "valgrind is not installed"
[[ -n ${CONEY_TEST_URI:-} ]] || fail "CONEY_TEST_URI is not set; run the tests with ./dev test"
export CONEY_URI=$CONEY_TEST_URI

for sample in retry ordered; do
    echo "- $sample"
    valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite,possible \
        --errors-for-leak-kinds=definite,possible "$build/samples/$sample/$sample" || fail "$sample"
done
