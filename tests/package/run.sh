#!/usr/bin/env bash
# Looks at the library as a stranger does: installs a build, links to it both ways, and checks
# which symbols and headers it shows.
#
#   run.sh SOURCE_DIR BUILD_DIR
set -euo pipefail
source=$1 build=$2
cc=${CC:-cc} cxx=${CXX:-c++}

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
prefix=$dir/prefix
cmake --install "$build" --prefix "$prefix" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name coney.pc)")
export PKG_CONFIG_PATH
lib=$(dirname "$PKG_CONFIG_PATH")

fail() {
    echo "FAILED: $1" >&2
    exit 1
}

echo "- a program finds Coney with CMake"
cmake -G Ninja -S "$source/tests/package" -B "$dir/outsider" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$dir/outsider" >/dev/null
"$dir/outsider/with_shared"
"$dir/outsider/with_static"

echo "- a program finds Coney with pkg-config"
read -ra shared < <(pkg-config --cflags --libs coney)
# Static is Coney alone. --static would name what OpenSSL's archive needs, too, which Debian 13 does not install.
mapfile -t private < <(pkg-config --print-requires-private coney)
read -ra static < <(pkg-config --cflags --libs coney "${private[@]}")
"$cc" -o "$dir/with_shared" "$source/tests/package/main.c" "${shared[@]}" -Wl,-rpath,"$lib"
"$dir/with_shared"
"$cc" -o "$dir/with_static" "$source/tests/package/main.c" "${static[@]/-lconey/-l:libconey.a}"
"$dir/with_static"

echo "- the program in README works as it stands"
sed -n '/^```c$/,/^```$/p; /^```$/q' "$source/README.md" | sed '1d;$d' >"$dir/readme.c"
"$cc" -std=c11 -Wall -Wextra -Werror -o "$dir/readme" "$dir/readme.c" "${shared[@]}" -Wl,-rpath,"$lib"
[[ -n ${CONEY_TEST_URI:-} ]] || fail "CONEY_TEST_URI is not set; run the tests with ./dev test"
mkfifo "$dir/keyboard"
stdbuf -oL "$dir/readme" "$CONEY_TEST_URI" <"$dir/keyboard" >"$dir/said" &
exec 3>"$dir/keyboard" # held open: the program runs until Enter
for ((tries = 0; tries < 100; tries++)); do
    ! grep -q 'shipping order 7' "$dir/said" || break
    sleep 0.1
done
echo >&3
wait $! || fail "the program of README failed"
((tries < 100)) || fail "the program of README shipped nothing"

echo "- every header stands alone, in C11 and in C++"
for header in $(cd "$prefix/include" && find coney -name '*.h' | sort); do
    echo "#include <$header>" >"$dir/one.c"
    "$cc" -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only "${shared[@]}" "$dir/one.c"
    "$cxx" -x c++ -pedantic -Wall -Wextra -Werror -fsyntax-only "${shared[@]}" "$dir/one.c"
done

echo "- the shared library exports what the headers declare and nothing else"
grep -rhoP 'CONEY_API\b.*?\bconey_\w+(?=\()' "$prefix/include" | grep -oP 'coney_\w+$' | sort >"$dir/declared"
nm -D --defined-only "$lib/libconey.so" | awk '{ print $3 }' | sort >"$dir/exported"
diff "$dir/declared" "$dir/exported" || fail "left: declared, right: exported"

echo "- the release preset hardens the shared library"
(cd "$source" && cmake --preset release -B "$dir/release" -DCONEY_BUILD_SAMPLES=OFF -DCONEY_BUILD_BENCH=OFF) >/dev/null
cmake --build "$dir/release" --target coney >/dev/null
hardened=$dir/release/libconey.so
readelf -dW "$hardened" >"$dir/dynamic"
readelf -lW "$hardened" >"$dir/segments"
nm -D --undefined-only "$hardened" >"$dir/imports"
grep -q 'GNU_RELRO' "$dir/segments" || fail "no RELRO: relocated data stays writable"
grep -qE 'BIND_NOW|FLAGS_1.*\bNOW\b' "$dir/dynamic" || fail "symbols are bound lazily, so the GOT stays writable"
grep -E 'GNU_STACK' "$dir/segments" | grep -qv 'RWE' || fail "the stack is executable"
grep -q '__stack_chk_fail' "$dir/imports" || fail "no stack protector"
grep -qE '__(vsnprintf|snprintf|memcpy|memmove)_chk' "$dir/imports" || fail "no _FORTIFY_SOURCE"

echo "- only src/wire calls rabbitmq-c and OpenSSL"
objects=$build/CMakeFiles/coney_objects.dir/src
foreign=$(find "$objects" -name '*.o' ! -path "$objects/wire/*" -exec nm -uA {} + | grep -E ' U (amqp|SSL|X509|BIO)_' || true)
[[ -z $foreign ]] || fail "$foreign"

echo "- only src/amqp/compression.c calls zlib"
foreign=$(find "$objects" -name '*.o' ! -name 'compression.c.o' -exec nm -uA {} + | grep -E ' U (deflate|inflate)' || true)
[[ -z $foreign ]] || fail "$foreign"
