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

# configure_outsider PREFIX LIBRARIES: the project of a stranger, in $dir/outsider
configure_outsider() {
    rm -rf "$dir/outsider"
    cmake -G Ninja -S "$source/tests/package" -B "$dir/outsider" -DCMAKE_PREFIX_PATH="$1" -DLIBRARIES="$2" >/dev/null
}

echo "- a program finds Coney with CMake"
configure_outsider "$prefix" 'coney;coney_static'
cmake --build "$dir/outsider" >/dev/null
"$dir/outsider/with_coney"
"$dir/outsider/with_coney_static"

if [[ -e $lib/libconey_management.so ]]; then
    echo "- a program finds the reader of the management API with CMake and with pkg-config"
    configure_outsider "$prefix" 'coney;coney_management'
    cmake --build "$dir/outsider" >/dev/null
    "$dir/outsider/with_coney_management"
    read -ra management < <(pkg-config --cflags --libs coney_management)
    "$cc" -o "$dir/with_management" "$source/tests/package/main.c" "${management[@]}" -Wl,-rpath,"$lib"
    "$dir/with_management"
fi

echo "- a program finds Coney with pkg-config"
read -ra shared < <(pkg-config --cflags --libs coney)
# Static is Coney alone. --static would name what OpenSSL's archive needs, too, which Debian 13 does not install.
mapfile -t private < <(pkg-config --print-requires-private coney)
read -ra static < <(pkg-config --cflags --libs coney "${private[@]}")
"$cc" -o "$dir/with_shared" "$source/tests/package/main.c" "${shared[@]}" -Wl,-rpath,"$lib"
[[ $("$dir/with_shared") == "$(pkg-config --modversion coney)" ]] || fail "pkg-config has another version"
"$cc" -o "$dir/with_static" "$source/tests/package/main.c" "${static[@]/-lconey/-l:libconey.a}"
"$dir/with_static"

[[ -n ${CONEY_TEST_URI:-} ]] || fail "CONEY_TEST_URI is not set; run the tests with ./dev test"

# The first program in a page, in this language.
program_in() {
    sed -n "/^\`\`\`$2\$/,/^\`\`\`\$/p; /^\`\`\`\$/q" "$source/$1" | sed '1d;$d'
}

# Runs a program that ships an order, and goes on until Enter; before it may stand what runs it.
ship() {
    rm -f "$dir/keyboard"
    mkfifo "$dir/keyboard"
    stdbuf -oL "$@" "$CONEY_TEST_URI" <"$dir/keyboard" >"$dir/said" &
    local program=$! tries
    exec 3>"$dir/keyboard" # held open: the program runs until Enter
    for ((tries = 0; tries < 300; tries++)); do
        ! grep -q 'shipping order 7' "$dir/said" || break
        sleep 0.1
    done
    echo >&3
    wait "$program" || fail "$* failed"
    exec 3>&-
    ((tries < 300)) || fail "$* shipped nothing"
}

echo "- the program in README works as it stands"
program_in README.md c >"$dir/readme.c"
"$cc" -std=c11 -Wall -Wextra -Werror -o "$dir/readme" "$dir/readme.c" "${shared[@]}" -Wl,-rpath,"$lib"
ship "$dir/readme"
ship valgrind -q --error-exitcode=1 --leak-check=full --show-leak-kinds=definite,possible \
    --errors-for-leak-kinds=definite,possible "$dir/readme"

echo "- the program in docs/json.md works as it stands"
program_in docs/json.md c >"$dir/json.c"
"$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -o "$dir/json" "$dir/json.c" "${shared[@]}" -Wl,-rpath,"$lib"
[[ $("$dir/json") == 'order 7 of Ann, 1.50 EUR'$'\n'* ]] || fail "docs/json.md: $("$dir/json")"

echo "- the program in docs/rpc.md works as it stands"
program_in docs/rpc.md c >"$dir/rpc.c"
"$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -o "$dir/rpc" "$dir/rpc.c" "${shared[@]}" -Wl,-rpath,"$lib"
[[ $(CONEY_URI=$CONEY_TEST_URI "$dir/rpc") == $'90 left\nrefused: TOO_MANY' ]] || fail "docs/rpc.md"

compilers=("$cxx")
! command -v clang++ >/dev/null || compilers+=(clang++)
for compiler in "${compilers[@]}"; do
    for standard in c++17 c++20; do
        echo "- the program in docs/cpp.md works as it stands: $compiler, $standard"
        program_in docs/cpp.md cpp >"$dir/cpp.cpp"
        "$compiler" -std=$standard -Wall -Wextra -Wpedantic -Werror -o "$dir/cpp" "$dir/cpp.cpp" "${shared[@]}" \
            -Wl,-rpath,"$lib"
        ship "$dir/cpp"
        echo "- a table of C++: $compiler, $standard"
        "$compiler" -std=$standard -Wall -Wextra -Wpedantic -Werror -o "$dir/table" "$source/tests/package/table.cpp" \
            "${shared[@]}" -Wl,-rpath,"$lib"
        "$dir/table"
    done
    echo "- an exception that leaves a callback ends the process: $compiler"
    "$compiler" -std=c++17 -Wall -Wextra -Wpedantic -Werror -o "$dir/callbacks" \
        "$source/tests/package/callbacks.cpp" "${shared[@]}" -Wl,-rpath,"$lib"
    for callback in handler callback processor; do
        status=0
        (ulimit -c 0 && "$dir/callbacks" "$CONEY_TEST_URI" $callback || exit) 2>"$dir/said" || status=$?
        grep -q "what():  left the $callback" "$dir/said" && ((status == 128 + 6)) ||
            fail "a $callback that throws: status $status, $(cat "$dir/said")"
    done
    echo "- a thread_local object of a handler is destroyed before the free of its container returns: $compiler"
    said=$("$dir/callbacks" "$CONEY_TEST_URI" thread_local)
    [[ $said == $'destroyed\nfreed' ]] || fail "a thread_local object: $said"
done

echo "- every header stands alone, in C11 and in C++11"
for header in $(cd "$prefix/include" && find coney -name '*.h' | sort); do
    echo "#include <$header>" >"$dir/one.c"
    "$cc" -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only "${shared[@]}" "$dir/one.c"
    "$cxx" -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror -fsyntax-only "${shared[@]}" "$dir/one.c"
done

echo "- sends of an object of another kind do not compile, in C11 and in C++"
for language in 'c -std=c11' 'c++ -std=c++11' 'c++ -std=c++17'; do
    read -ra flags <<<"-x $language -pedantic -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags coney)"
    "$cxx" "${flags[@]}" "$source/tests/package/typed.c"
    for wrong in 1 2 3 4 5; do
        ! "$cxx" "${flags[@]}" -DWRONG=$wrong "$source/tests/package/typed.c" 2>"$dir/errors" ||
            fail "$language: wrong object $wrong compiles"
        grep -qE 'incompatible|cannot convert|invalid conversion|no matching' "$dir/errors" ||
            fail "$(cat "$dir/errors")"
    done
done

echo "- the shared library exports what the headers declare and nothing else"
grep -rhoP 'CONEY_API\b.*?\bconey_\w+(?=\()' "$prefix"/include/coney/{amqp,rabbit} |
    grep -oP 'coney_\w+$' | sort >"$dir/declared"
nm -D --defined-only "$lib/libconey.so" | awk '{ print $3 }' | sort >"$dir/exported"
diff "$dir/declared" "$dir/exported" || fail "left: declared, right: exported"

# expect_only LIBRARY OTHER: what $dir/release has of Coney can be installed, and find_package offers just that.
expect_only() {
    rm -rf "$dir/half"
    cmake --install "$dir/release" --prefix "$dir/half" >/dev/null || fail "$1 alone cannot be installed"
    configure_outsider "$dir/half" "$1" || fail "find_package does not offer $1"
    cmake --build "$dir/outsider" >/dev/null
    "$dir/outsider/with_$1" >/dev/null
    ! configure_outsider "$dir/half" "$2" 2>"$dir/errors" || fail "find_package offers $2, which is not installed"
    grep -q "there is no coney::$2" "$dir/errors" || fail "no word about $2: $(cat "$dir/errors")"
}

echo "- one of the libraries is built and installed alone"
(cd "$source" && cmake --preset release -B "$dir/release" -DCONEY_BUILD_SAMPLES=OFF -DCONEY_BUILD_BENCH=OFF) >/dev/null
! cmake --install "$dir/release" --prefix "$dir/half" >/dev/null 2>&1 || fail "headers without a library were installed"
cmake --build "$dir/release" --target coney >/dev/null
expect_only coney coney_static
mkdir "$dir/built"
mv "$dir"/release/libconey.so* "$dir/built"
cmake --build "$dir/release" --target coney_static >/dev/null
expect_only coney_static coney

echo "- the release preset hardens the shared library"
hardened=$dir/built/libconey.so
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

echo "- only src/amqp/deflate.c calls zlib"
foreign=$(find "$objects" -name '*.o' ! -name 'deflate.c.o' -exec nm -uA {} + | grep -E ' U (deflate|inflate)' || true)
[[ -z $foreign ]] || fail "$foreign"
