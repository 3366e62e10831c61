#!/usr/bin/env bash
# Fetches what Coney stands on for 32 bits, from Debian into a folder: next to the 64-bit packages they cannot be
# installed, and the system is to stay as it is. gcc-multilib has the compiler and the C library.
#
#   i386.sh FOLDER
set -euo pipefail
system=$1
wanted=(librabbitmq-dev libjansson-dev libssl-dev zlib1g-dev libcmocka-dev)

[[ ! -e $system/complete ]] || exit 0
rm -rf "$system"
mkdir -p "$system"/{lists,cache,packages}
cd "$system"
options=(-o APT::Architecture=i386 -o APT::Architectures=i386 -o APT::Sandbox::User="$(id -un)"
    -o Dir::State::lists="$PWD/lists" -o Dir::Cache="$PWD/cache")

apt-get -qq "${options[@]}" update || echo "i386: going on without the repositories that failed" >&2
mapfile -t libraries < <(apt-cache "${options[@]}" depends "${wanted[@]}" |
    sed -nE 's/^ *Depends: (z?lib.*)/\1/p' | grep -v '^libc6' | sort -u)
(cd packages && apt-get -qq "${options[@]}" download "${wanted[@]}" "${libraries[@]}")
for package in packages/*.deb; do
    dpkg-deb -x "$package" .
done
rm -r lists cache packages
touch complete
