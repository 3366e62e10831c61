#!/usr/bin/env bash
# Runs the Spring side and the C side of the suite against the broker in CONEY_TEST_URI; ./dev interop calls it.
#
#   run.sh PEER LINE...            runs all cases with these lines of Spring AMQP, such as 4.1, and prints the results
#   run.sh --record PEER LINE...   writes what Spring sends to recorded/LINE.hex
#
# What the two sides print is in build/interop/LINE: spring.tap, spring.log and coney.tap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
build=$PWD/../../build/interop

java=
trap '[[ -z $java ]] || kill "$java" 2>/dev/null || true' EXIT

compile() {
    mkdir -p "$build/$1"
    timeout 600 mvn -q -B "-P$1" compile dependency:build-classpath >"$build/$1/maven.log" 2>&1 && return
    cat "$build/$1/maven.log" >&2
    echo "interop: Maven cannot build the Spring side; it needs Maven Central, or a mirror in ~/.m2/settings.xml" >&2
    return 1
}

# The JVM ends by itself when the C side says so, or is ended.
start_spring() {
    timeout --kill-after=5 150 java -XX:TieredStopAtLevel=1 -cp "$build/$1/classes:$(<"$build/$1/classpath")" \
        org.coney.interop.Peer "$@" >"$build/$1/spring.tap" 2>"$build/$1/spring.log" &
    java=$!
}

wait_for_spring() {
    local status=0
    wait "$java" || status=$?
    java=
    ((status == 0)) || tail -n 20 "$build/$1/spring.log" >&2
    return "$status"
}

run_line() {
    local failed=0
    start_spring "$1"
    timeout --kill-after=5 150 "$peer" "$1" >"$build/$1/coney.tap" 2>"$build/$1/coney.log" || failed=1
    wait_for_spring "$1" || failed=1
    return "$failed"
}

record_line() {
    start_spring "$1" record
    timeout --kill-after=5 150 "$peer" "$1" record "recorded/$1.hex"
    wait_for_spring "$1"
}

record=
[[ $1 != --record ]] || { record=yes && shift; }
peer=$1
shift
for line in "$@"; do compile "$line"; done
if [[ -n $record ]]; then
    for line in "$@"; do record_line "$line"; done
    exit
fi
status=0
for line in "$@"; do run_line "$line" || status=1; done
for line in "$@"; do
    sed "s/^/$line /" "$build/$line/spring.tap" "$build/$line/coney.tap"
done | awk -v lines="$*" -f report.awk || status=1
exit "$status"
