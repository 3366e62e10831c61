# shellcheck shell=bash
# Part of broker.sh: a node in a container of the image CONEY_BROKER_IMAGE, which has RabbitMQ and a user rabbitmq, as
# Docker's official images do. The data stays in the container until that is removed. The container sees DIR, but cannot
# write there. A network of its own lets the nodes of a cluster find each other.

broker_container_make() {
    local dir=$1 first=$2 name amqp_port path version
    # Debian's real scripts stand in the first of them, those of Docker's official images in the second.
    path=PATH=/usr/lib/rabbitmq/bin:/opt/rabbitmq/sbin:/opt/erlang/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    broker_container_check || return
    amqp_port=$(<"$dir/port") name=coney-$amqp_port
    echo "coney@$name" >"$dir/node"
    if [[ $first == "$dir" ]]; then
        echo "$name" >"$dir/network"
        od -An -N16 -tx1 /dev/urandom | tr -d ' ' >"$dir/cookie"
        docker network create "$name" >/dev/null || return
    else
        cp "$first/network" "$first/cookie" "$dir/"
    fi
    broker_configure "$dir" 0.0.0.0:5672 0.0.0.0:5671 /coney/certificates
    echo "loopback_users.guest = false" >>"$dir/rabbitmq.conf" # to the node, Docker is another machine
    version=$(docker run --rm --env "$path" --entrypoint rabbitmqctl "$CONEY_BROKER_IMAGE" --quiet version) || return
    broker_deny_transient_queues "$dir" "$version"
    broker_script "$dir/rabbitmqctl" sh "exec docker exec '$name' rabbitmqctl \"\$@\""
    broker_script "$dir/eval" sh "exec docker exec '$name' rabbitmqctl --quiet eval \"\$(cat)\""
    broker_script "$dir/signal" sh "case \$1 in
STOP) exec docker pause '$name' ;;
CONT) exec docker unpause '$name' ;;
KILL) docker unpause '$name' 2>/dev/null; exec docker kill '$name' ;;
esac"
    chmod -R a+rX "$dir"
    docker create --name "$name" --hostname "$name" --network "$(<"$dir/network")" --user rabbitmq \
        --publish "127.0.0.1:$amqp_port:5672" --publish "127.0.0.1:$((amqp_port + 1)):5671" \
        --volume "$dir:/coney:ro,z" --ulimit nofile=16384:16384 \
        --env "$path" --env HOME=/var/lib/rabbitmq --env LANG=C.UTF-8 --env ERL_CRASH_DUMP_SECONDS=0 \
        --env RABBITMQ_NODENAME="coney@$name" --env RABBITMQ_CONF_ENV_FILE=/dev/null \
        --env RABBITMQ_CONFIG_FILE=/coney/rabbitmq.conf --env RABBITMQ_ENABLED_PLUGINS_FILE=/coney/plugins \
        --env RABBITMQ_MNESIA_BASE=/var/lib/rabbitmq/coney --env RABBITMQ_LOGS=- \
        --env RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=very_short --env RABBITMQ_ALLOW_INPUT=1 \
        --entrypoint sh "$CONEY_BROKER_IMAGE" -c \
        "umask 077 && cp -f /coney/cookie ~/.erlang.cookie && exec rabbitmq-server -noinput" >/dev/null
}

# Says what is wrong with Docker or the image.
broker_container_check() {
    command -v docker >/dev/null ||
        { echo "CONEY_BROKER_IMAGE needs Docker, and there is no docker command: install docker.io" >&2 && return 1; }
    [[ $CONEY_BROKER_IMAGE != -* ]] || { echo "CONEY_BROKER_IMAGE is '$CONEY_BROKER_IMAGE', no image" >&2 && return 1; }
    docker version >/dev/null || return
    docker image inspect "$CONEY_BROKER_IMAGE" >/dev/null 2>&1 || docker pull "$CONEY_BROKER_IMAGE" >&2
}

broker_container_launch() { docker start "coney-$(<"$1/port")" >/dev/null; }

# Docker accepts connections for the node as soon as there is a container, and rabbitmqctl takes a second of computing.
broker_container_serves() {
    local first=
    { exec 7<>"/dev/tcp/127.0.0.1/$(<"$1/port")"; } 2>/dev/null || return
    printf 'AMQP\0\0\x09\x01' >&7
    IFS= read -r -n 1 -t 5 first <&7 2>/dev/null || true
    exec 7>&-
    [[ $first == $'\x01' ]] && "$1/rabbitmqctl" --quiet await_startup --timeout 30 >/dev/null 2>&1
}

broker_container_log() { docker logs "coney-$(<"$1/port")" 2>&1; }

broker_container_kill() { "$1/signal" KILL >/dev/null 2>&1 || true; } # it may have ended by itself

broker_container_remove() {
    docker rm --force --volumes "coney-$(<"$1/port")" >/dev/null 2>&1 || true
    [[ ! -e $1/network ]] || docker network rm "$(<"$1/network")" >/dev/null 2>&1 || true # fails while other nodes are in it
}

broker_container_alive() {
    [[ $(docker inspect --format '{{.State.Running}}' "coney-$(<"$1/port")" 2>/dev/null) == true ]]
}
