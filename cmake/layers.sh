#!/usr/bin/env bash
# Checks who includes whom: base <- amqp <- wire <- connection <- { template, admin, listener }.
# Headers of the system are free; ours, and those of the libraries we stand on, each file may use
# only as listed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rabbitmq_c="rabbitmq-c/ amqp.h amqp_framing.h amqp_ssl_socket.h amqp_tcp_socket.h"
above="base/ amqp/ rabbit/connection/connection.h rabbit/factory/factory.h coney/"

# The prefixes that a file's includes may have.
allowed() {
    case $1 in
    include/coney/amqp/json.h) echo "coney/amqp/ jansson.h" ;;
    include/coney/amqp/*) echo "coney/amqp/" ;;
    include/coney/*) echo "coney/" ;;
    src/base/*) echo "base/ coney/amqp/api.h coney/amqp/status.h coney/amqp/log.h coney/amqp/version.h" ;;
    src/amqp/compression.c) echo "base/ amqp/ coney/amqp/ zlib.h" ;;
    src/amqp/*) echo "base/ amqp/ coney/amqp/ jansson.h" ;;
    src/wire/*) echo "base/ amqp/ wire/ coney/amqp/ coney/rabbit/tls.h openssl/ $rabbitmq_c" ;;
    src/rabbit/events/*) echo "base/ amqp/ rabbit/events/ coney/" ;;
    src/rabbit/connection/confirms/*) echo "base/ amqp/ wire/wire.h rabbit/events/events.h rabbit/connection/confirms/ coney/" ;;
    src/rabbit/connection/*) echo "base/ amqp/ wire/wire.h rabbit/events/ rabbit/connection/ coney/" ;;
    src/rabbit/factory/*) echo "base/ amqp/ wire/wire.h rabbit/events/events.h rabbit/connection/connection.h rabbit/factory/ coney/" ;;
    src/rabbit/template/*) echo "$above rabbit/template/" ;;
    src/rabbit/admin/*) echo "$above rabbit/admin/" ;;
    src/rabbit/listener/report/*) echo "base/ amqp/ rabbit/factory/factory.h rabbit/listener/report/ coney/" ;;
    src/rabbit/listener/handling/*) echo "base/ amqp/ rabbit/factory/factory.h rabbit/listener/report/report.h rabbit/listener/spec/spec.h rabbit/listener/handling/ coney/" ;;
    src/rabbit/listener/*) echo "$above rabbit/listener/" ;;
    esac
}

status=0
while IFS=: read -r file line header; do
    for prefix in $(allowed "$file"); do
        [[ $header != "$prefix"* ]] || continue 2
    done
    echo "$file:$line: $header is not for this layer" >&2
    status=1
done < <(grep -rnoP '^\s*#\s*include\s*["<]\K(\.\.|base|amqp|wire|rabbit|coney|openssl|rabbitmq-c)/[^">]+|^\s*#\s*include\s*["<]\K(amqp\w*|jansson|zlib)\.h' include src)
exit $status
