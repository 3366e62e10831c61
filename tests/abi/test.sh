#!/usr/bin/env bash
# Tests abi.sh with a small library: which changes need a new SONAME and which do not.
set -euo pipefail
abi=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/abi.sh

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/include/coney"
header=$dir/include/coney/thing.h

original() {
    cat >"$header" <<'END'
#define CONEY_API
enum coney_color { CONEY_RED, CONEY_BLUE };
struct coney_thing {
    const char *name;
    int size;
    enum coney_color color;
    unsigned char flag;
};
typedef int coney_handler(struct coney_thing *thing, void *user);
CONEY_API int coney_thing_open(struct coney_thing *thing,
                               int size);
CONEY_API void coney_thing_each(coney_handler *handler, void *user);
END
}

check() { "$abi" check "${1:-libthing.so.1}" "$dir/include" "$dir/thing.abi" >"$dir/said" 2>&1; }
renew() { "$abi" renew "$1" "$dir/include" "$dir/thing.abi" >"$dir/said" 2>&1; }

fail() {
    echo "FAILED: $1" >&2
    cat "$dir/said" >&2
    exit 1
}

# Each takes what changes, and the expression of sed that changes it.
change() {
    original
    cp "$header" "$dir/before"
    sed -zEi "$2" "$header"
    ! cmp -s "$header" "$dir/before" || fail "this changes nothing: $1"
}
expect_break() {
    change "$@"
    ! check || fail "passes: $1"
    grep -q 'programs that were compiled before would break' "$dir/said" || fail "no clear text: $1"
    ! renew libthing.so.1 || fail "the baseline is renewed under the same SONAME: $1"
}
expect_compatible() {
    change "$@"
    check || fail "does not pass: $1"
}

original
renew libthing.so.1 || fail "there is no first baseline"
check || fail "nothing has changed"

expect_break "a member at the end" 's/(flag;)/\1 int weight;/'
expect_break "a member in a hole of the layout" 's/(flag;)/\1 unsigned char other;/'
expect_break "a member less" 's/ int size;//'
expect_break "a larger member" 's/ int size;/ long size;/'
expect_break "a signed member" 's/unsigned char flag/signed char flag/'
expect_break "two members change places" 's/(int size;)\s*(enum coney_color color;)/\2 \1/'
expect_break "a function less" 's/CONEY_API void coney_thing_each[^;]*;//'
expect_break "another parameter" 's/ int size\)/ int size, int weight)/'
expect_break "a parameter of another type" 's/ int size\)/ long size)/'
expect_break "a result of another type" 's/CONEY_API int/CONEY_API long/'
expect_break "another parameter of a callback" 's/, void \*user\);/, int size, void *user);/'
expect_break "another value of a constant" 's/CONEY_BLUE/CONEY_BLUE = 7/'
expect_break "a constant in between" 's/CONEY_BLUE/CONEY_GREEN, CONEY_BLUE/'
expect_break "a constant less" 's/, CONEY_BLUE//'

expect_compatible "another function" 's/$/CONEY_API int coney_other(void);/'
expect_compatible "another struct" 's/$/struct coney_other { int a; }; CONEY_API int coney_new(struct coney_other *);/'
expect_compatible "another constant at the end" 's/CONEY_BLUE/CONEY_BLUE, CONEY_GREEN/'
expect_compatible "another name of a parameter" 's/ int size\)/ int length)/'
expect_compatible "a comment" 's/int size;/int size; \/* in bytes *\//'

renew libthing.so.1 || fail "a compatible baseline is not renewed"
change "a member at the end" 's/(flag;)/\1 int weight;/'
! check libthing.so.2 || fail "passes: another SONAME with the old baseline"
grep -q 'renew the baseline' "$dir/said" || fail "no clear text: another SONAME"
renew libthing.so.2 || fail "the baseline is not renewed with the SONAME"
check libthing.so.2 || fail "nothing has changed since the baseline was renewed"
