#!/usr/bin/env bash
# Checks who includes and who calls whom: the picture in docs/architecture.md. A folder of src is a room. A room may use the
# rooms in its row below, and nothing else; of another room it includes the header of the room's name only. Inside a room
# no files call each other in a circle. Calls are read from the symbol tables of build/dev.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rooms="
base
amqp                         base
topology                     base amqp
wire                         base amqp topology
rabbit/events                base amqp topology
rabbit/connection/confirms   base amqp topology wire rabbit/events
rabbit/connection            base amqp topology wire rabbit/events rabbit/connection/confirms
rabbit/factory               base amqp topology wire rabbit/events rabbit/connection
rabbit/rpc                   base amqp topology rabbit/events rabbit/connection rabbit/connection/confirms rabbit/factory
rabbit/template              base amqp topology rabbit/connection rabbit/connection/confirms rabbit/factory rabbit/rpc
rabbit/admin                 base amqp topology rabbit/connection rabbit/factory
rabbit/plan                  base amqp topology rabbit/connection rabbit/factory rabbit/admin rabbit/template rabbit/listener rabbit/listener/handling
rabbit/listener/report       base amqp topology rabbit/connection rabbit/factory
rabbit/listener/spec         base amqp topology rabbit/connection rabbit/factory
rabbit/listener/handling     base amqp topology rabbit/connection rabbit/connection/confirms rabbit/factory rabbit/listener/report rabbit/listener/spec
rabbit/listener/consuming    base amqp topology rabbit/connection rabbit/factory rabbit/listener/report rabbit/listener/spec rabbit/listener/handling
rabbit/listener              base amqp topology rabbit/connection rabbit/factory rabbit/listener/report rabbit/listener/spec rabbit/listener/handling rabbit/listener/consuming
"

# base, amqp and topology have a header for each topic.
shows() {
    case $1 in
    base/* | amqp/* | topology/*) return 0 ;;
    *) [[ ${1##*/} == "$(basename "${1%/*}").h" ]] ;;
    esac
}

declare -A below
while read -r room uses; do
    [[ -z $room ]] || below[$room]=" $uses "
done <<<"$rooms"

status=0
fail() {
    echo "$*" >&2
    status=1
}

# The libraries that Coney stands on, and the public headers.
may_include() {
    case $2 in
    coney/rabbit/tls.h) [[ $1 == include/coney/* || $1 == src/wire/* || $1 == src/rabbit/* ]] ;;
    coney/rabbit/*) [[ $1 == include/coney/rabbit/* || $1 == include/coney/coney.h || $1 == src/rabbit/* ]] ;;
    coney/amqp/*) [[ $1 != src/base/* || ${2##*/} =~ ^(api|status|log|version)\.h$ ]] ;;
    coney/management/*) [[ $1 == src/management/* ]] ;;
    coney/coney.h) false ;;
    openssl/* | rabbitmq-c/* | amqp_framing.h | amqp.h | amqp_ssl_socket.h | amqp_tcp_socket.h) [[ $1 == src/wire/* ]] ;;
    jansson.h) [[ $1 == src/amqp/* || $1 == src/management/* || $1 == src/topology/* || $1 == include/coney/amqp/json.h ]] ;;
    zlib.h) [[ $1 =~ ^src/amqp/(deflate|zip)\.c$ ]] ;;
    *) may_use "$1" "src/${2%/*}" && { [[ ${1%/*} == "src/${2%/*}" ]] || shows "$2"; } ;;
    esac
}

# The files' rooms.
may_use() {
    local from=${1%/*} to=$2
    [[ $from == "$to" || ${below[${from#src/}]:-} == *" ${to#src/} "* ]]
}

includes() {
    grep -rnoP '^\s*#\s*include\s*["<]\K(\.\.|base|amqp|wire|rabbit|coney|openssl|rabbitmq-c)/[^">]+|^\s*#\s*include\s*["<]\K(amqp\w*|jansson|zlib)\.h' include src
}

while IFS=: read -r file line header; do
    may_include "$file" "$header" || fail "$file:$line: $header is not for this room"
done < <(includes)

calls=$(cmake/calls_between_files.sh)
while read -r from to symbol; do
    may_use "$from" "${to%/*}" || fail "$from uses $symbol of $to, which is not below"
done <<<"$calls"

for room in "${!below[@]}"; do
    while read -r circle; do
        fail "src/$room: files that call each other: ${circle//src\/$room\//}"
    done < <(awk -v room="src/$room/" '
        function is_in(file) { return index(file, room) == 1 && substr(file, length(room) + 1) !~ "/" }
        is_in($1) && is_in($2)' <<<"$calls" | awk -f cmake/circles.awk)
done

while read -r room; do
    [[ -n ${below[$room]+known} ]] || fail "src/$room is not among the rooms of cmake/layers.sh"
done < <(find src -name '*.c' -not -path 'src/management/*' -printf '%P\n' | sed 's|/[^/]*$||' | sort -u)
exit $status
