#!/usr/bin/env bash
# Private RabbitMQ nodes for a test program that kills them, one or a cluster of several:
#
#   cluster.sh possible   fails if there is no RabbitMQ to start
#   cluster.sh NODES      starts them, in directories node0, node1 ... as broker.sh describes them
#
# The second one answers with a line, the directory that holds those, or "failed". Then it obeys its input, one
# line at a time, with "ok" or "failed":
#
#   restart N          kills node N if it is alive, starts it on the data it had, waits until it serves
#
# When the input ends, because the program ended or closed it, the nodes are killed and all is removed.
# So nothing is left behind, however the program ends. (cluster.c starts it outside of the program's
# process group and not as its child, for those are what ctest and Ctrl-C kill.)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/broker.sh"

start_nodes() {
    local i pids=()
    broker_start "$dir/node0" || return 1
    for ((i = 1; i < count; i++)); do
        broker_start "$dir/node$i" "$dir/node0" &
        pids+=($!)
    done
    for ((i = 1; i < count; i++)); do
        wait "${pids[i - 1]}" && join "$dir/node$i/rabbitmqctl" || return 1
    done
}

join() {
    "$1" --quiet stop_app && "$1" --quiet join_cluster "$(<"$dir/node0/node")" && "$1" --quiet start_app
}

stop_nodes() {
    local i
    wait # for nodes that are still starting
    for ((i = count - 1; i >= 0; i--)); do
        broker_stop "$dir/node$i"
    done
    rm -rf "$dir"
}

restart() { [[ -x $dir/node$1/restart ]] && "$dir/node$1/restart"; }

answer() { "$@" >&2 && echo ok >&3 || echo failed >&3; }

if [[ $1 == possible ]]; then
    [[ -n ${CONEY_BROKER_IMAGE:-}${CONEY_RELEASE:-} ]] || broker_bin >/dev/null 2>&1
    exit
fi

count=${1:?how many nodes}
dir=$(mktemp -d "${TMPDIR:-/tmp}/coney-cluster.XXXXXX")
chmod 755 "$dir" # the nodes run as the user rabbitmq
trap stop_nodes EXIT
exec 3>&1 >&2 4<&0 </dev/null
start_nodes && echo "$dir" >&3 || echo failed >&3
while read -r verb node <&4; do
    case $verb in
    restart) answer restart "$node" ;;
    *) echo failed >&3 ;;
    esac
done
