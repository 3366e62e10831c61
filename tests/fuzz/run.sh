#!/usr/bin/env bash
# Lets libFuzzer look for inputs that do harm, as many targets at a time as there are processors, and prints a table.
#
#   run.sh BUILD_DIR SECONDS [TARGET...]
#
# A target begins with its seeds and with what earlier runs have found worth keeping (BUILD_DIR/corpus), and ends at the
# first input that crashes, leaks, takes more than ten seconds, or takes memory beyond the limits. Fails if there is
# such an input.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$1 seconds=$2
shift 2
findings=$build/findings

all=(tests/fuzz/*.c)
all=("${all[@]##*/}")
targets=("$@")
((${#targets[@]} > 0)) || targets=("${all[@]%.c}")
for target in "${targets[@]}"; do
    [[ -e tests/fuzz/$target.c ]] || { echo "there is no fuzz target '$target'; there are ${all[*]%.c}" >&2; exit 2; }
done

fuzz() {
    local name=$1
    mkdir -p "$build/corpus/$name"
    UBSAN_OPTIONS=print_stacktrace=1 "$build/tests/fuzz/$name" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=64 -print_final_stats=1 \
        -artifact_prefix="$findings/$name-" "$build/corpus/$name" "tests/fuzz/seeds/$name" >"$findings/$name.log" 2>&1
}

mkdir -p "$findings"
rm -f "$findings"/*.{log,failed}
running=0
for target in "${targets[@]}"; do
    ((running < $(nproc))) || { wait -n; running=$((running - 1)); }
    { fuzz "$target" || touch "$findings/$target.failed"; } &
    running=$((running + 1))
done
wait

last() { # of what a pattern finds in the log of a target
    sed -nE "s/$2/\\1/p" "$findings/$1.log" | tail -1
}

status=0
printf '%-12s %12s %8s %8s %9s  %s\n' target executions edges features seconds finding
for target in "${targets[@]}"; do
    finding=none
    if [[ -e $findings/$target.failed ]]; then
        status=1
        finding=$(last "$target" '.*Test unit written to (.*)')
        finding=${finding:-"see $findings/$target.log"}
    fi
    printf '%-12s %12s %8s %8s %9s  %s\n' "$target" "$(last "$target" 'stat::number_of_executed_units: *([0-9]+)')" \
        "$(last "$target" '^#[0-9]+.* cov: ([0-9]+).*')" "$(last "$target" '^#[0-9]+.* ft: ([0-9]+).*')" \
        "$(last "$target" '^Done [0-9]+ runs in ([0-9]+).*')" "$finding"
done
if ((status != 0)); then
    echo "Run a finding again: $build/tests/fuzz/TARGET FILE. What the target said is in $findings/TARGET.log."
    echo "After the fault is mended, keep the input: mv FILE tests/fuzz/seeds/TARGET/NAME"
fi
exit "$status"
