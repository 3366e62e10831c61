#!/usr/bin/env bash
# Makes what Coney stands on for the C library musl, in a folder: Debian has the compiler (musl-tools) and the sources.
# Building OpenSSL would take longer than everything else, and no unit test needs TLS: its functions end the program.
#
#   musl.sh FOLDER
set -euo pipefail
[[ ! -e $1/complete ]] || exit 0
rm -rf "$1"
mkdir -p "$1"/{include/openssl,lib,make/lists,make/cache}
system=$(realpath "$1")
multiarch=$(gcc -print-multiarch)

fetch_sources() {
    local mirror options keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' | sed -n 's/^Debian //p' | head -n 1)
    [[ -n $mirror ]] || { echo "musl: apt is set up with no mirror of Debian" >&2 && exit 1; }
    source /etc/os-release
    echo "deb-src [signed-by=$keyring] $mirror $VERSION_CODENAME main" >sources.list
    options=(-o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache" -o APT::Sandbox::User="$(id -un)")
    apt-get -qq "${options[@]}" update
    apt-get -qq "${options[@]}" source --download-only librabbitmq jansson zlib cmocka
    for archive in *.orig.tar.*[z2]; do
        tar -xf "$archive"
    done
}

build_with_cmake() {
    cmake -G Ninja -S "$1" -B "build-$1" -DCMAKE_INSTALL_PREFIX="$system" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_C_COMPILER=musl-gcc -DCMAKE_C_FLAGS="-w -fPIC -idirafter $system/include" \
        -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTS=OFF -DBUILD_EXAMPLES=OFF "${@:2}"
    cmake --build "build-$1"
    cmake --install "build-$1"
}

build_zlib() {
    (cd zlib-* && CC=musl-gcc CFLAGS=-fPIC ./configure --static --prefix="$system" && make install)
}

make_openssl() {
    local library
    ln -s /usr/include/openssl/*.h "/usr/include/$multiarch/openssl/"*.h "$system/include/openssl"
    for library in ssl crypto; do
        nm -D --defined-only "/usr/lib/$multiarch/lib$library.so" |
            sed -nE 's/^\S+ T ([^@]+).*/.globl \1\n\1:/p; $a ud2\n.section .note.GNU-stack' |
            musl-gcc -c -x assembler -o "$library.o" -
        ar rc "$system/lib/lib$library.a" "$library.o"
    done
}

cd "$system/make"
ln -s /usr/include/{linux,asm-generic} "/usr/include/$multiarch/asm" "$system/include" # the kernel's headers
fetch_sources
{
    build_with_cmake jansson-* -DJANSSON_WITHOUT_TESTS=ON -DJANSSON_EXAMPLES=OFF -DJANSSON_BUILD_DOCS=OFF
    build_with_cmake cmocka-* -DWITH_EXAMPLES=OFF
    build_with_cmake rabbitmq-c-* -DENABLE_SSL_SUPPORT=OFF
    build_zlib
    make_openssl
} >log 2>&1 || { tail -20 log >&2 && exit 1; }
touch "$system/complete"
