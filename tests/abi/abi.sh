#!/usr/bin/env bash
# Compares the ABI with a baseline. The ABI is what the public headers promise to compiled programs: functions, and the
# layouts of structs. A change that breaks such programs needs a new SONAME, and renews the baseline with it.
#
#   abi.sh check|renew SONAME INCLUDE_DIR BASELINE
#
# The headers alone are looked at, as a library of empty functions, so neither the private structs nor the compiler's
# options matter. tests/package makes sure that the real library exports just what the headers declare.
set -euo pipefail
command=$1 soname=$2 include=$3 baseline=$4

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

describe() {
    cp -r "$include" "$dir/include"
    find "$dir/include" -name '*.h' ! -name api.h -exec sed -zEi 's/(CONEY_API [^;{]*);/\1 { __builtin_trap(); }/g' {} +
    (cd "$dir/include" && find coney -name '*.h' | LC_ALL=C sort | sed 's/.*/#include <&>/') >"$dir/functions.c"
    "${CC:-cc}" -g -w -ffile-prefix-map="$dir"=. '-D__attribute__(list)=' -shared -fPIC \
        -Wl,-soname,"$soname" -I"$dir/include" -o "$dir/libconey.so" "$dir/functions.c"
    abidw --no-corpus-path --no-comp-dir-path --no-show-locs --no-parameter-names --no-elf-needed \
        --no-write-default-sizes --type-id-style hash --out-file "$dir/now.abi" "$dir/libconey.so"
}

# New functions and new constants of an enum break no program; abidiff calls the latter harmless.
is_compatible() { abidiff --no-added-syms --ignore-soname "$baseline" "$dir/now.abi" >"$dir/differences"; }

die() {
    printf 'abi: %s\n' "$@" >&2
    exit 1
}

describe
old_soname=$(sed -nE "s/^<abi-corpus .*soname='([^']*)'.*/\1/p" "$baseline" 2>/dev/null || true)
case $command in
check)
    [[ $soname == "$old_soname" ]] || die "the SONAME is $soname, $baseline is of '$old_soname': renew the baseline"
    is_compatible || die "programs that were compiled before would break: $(cat "$dir/differences")" \
        "Undo that, or change the SONAME and renew the baseline (include/coney/amqp/api.h)"
    ;;
renew)
    [[ $soname != "$old_soname" ]] || is_compatible ||
        die "$soname is the SONAME of $baseline, too, but programs would break: $(cat "$dir/differences")" \
            "Change the SONAME first"
    mv "$dir/now.abi" "$baseline"
    ;;
*) die "usage: abi.sh check|renew SONAME INCLUDE_DIR BASELINE" ;;
esac
