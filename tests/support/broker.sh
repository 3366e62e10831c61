# shellcheck shell=bash
# A RabbitMQ node of our own, for ./dev to source: own directory, own ports, nothing shared with a broker of the
# system. Nothing in it is worth keeping, so it ends by SIGKILL.
#
#   broker_start DIR         starts a node that lives in the new directory DIR and waits until it serves
#   broker_start DIR FIRST   the same for one that is to join the cluster of the node in the directory FIRST
#   broker_stop DIR          ends it and removes DIR
#   broker_kill DIR          only ends it
#   broker_launch DIR        starts it again with its data, and waits until it serves
#   broker_alive DIR
#
# The node is a process of the installed RabbitMQ or, with CONEY_RELEASE=4.0 or 4.3, of another Debian's
# (broker_process.sh). With CONEY_BROKER_IMAGE it is a container of that image (broker_container.sh).
#
# DIR/env holds, for sourcing, what tests need to know:
#   CONEY_TEST_URI           where it listens; CONEY_URI, for the samples, is the same. It has no "/" at its end, which
#                            Spring reads as an empty virtual host
#   CONEY_TEST_TLS_PORT      where it speaks TLS; it asks for a client certificate and takes none, too. SASL
#                            EXTERNAL logs in the user whose name is the certificate's CN
#   CONEY_TEST_CERTIFICATES  a directory of them; see certificates.sh
#   CONEY_TEST_BROKER_DIR    DIR
#   CONEY_TEST_RABBITMQCTL   a rabbitmqctl that talks to this node
#   CONEY_TEST_MANAGEMENT_URL  where its management API is, if broker_plugins=$broker_management was set before the start
#   CONEY_TEST_EVAL          has this node evaluate the Erlang on standard input, sooner than rabbitmqctl would
#
# DIR/restart kills the node if it is alive, starts it again with its data and waits until it serves. DIR/signal
# KILL|STOP|CONT sends it that signal. DIR/node is its name, DIR/port its port.

broker_support=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
source "$broker_support/certificates.sh"
source "$broker_support/broker_process.sh"
source "$broker_support/broker_container.sh"

# For tests of what a broker has. A node starts later with these, and counts what it does.
broker_management=rabbitmq_management,rabbitmq_consistent_hash_exchange

broker_start() {
    local dir=$1 kind=process
    [[ -z ${CONEY_BROKER_IMAGE:-} ]] || kind=container
    broker_take_ports
    mkdir -p "$dir/log"
    echo "$kind" >"$dir/kind"
    echo "$broker_ports" >"$dir/port"
    certificates_make "$dir/certificates"
    echo "[rabbitmq_auth_mechanism_ssl${broker_plugins:+,$broker_plugins}]." >"$dir/plugins"
    cat >"$dir/env" <<END_OF_ENV
export CONEY_TEST_URI=amqp://guest:guest@127.0.0.1:$broker_ports
export CONEY_URI=amqp://guest:guest@127.0.0.1:$broker_ports
export CONEY_TEST_TLS_PORT=$((broker_ports + 1))
export CONEY_TEST_CERTIFICATES=$dir/certificates
export CONEY_TEST_BROKER_DIR=$dir
export CONEY_TEST_RABBITMQCTL=$dir/rabbitmqctl
export CONEY_TEST_EVAL=$dir/eval
END_OF_ENV
    [[ -z ${broker_plugins:-} ]] ||
        echo "export CONEY_TEST_MANAGEMENT_URL=http://127.0.0.1:$((broker_ports + 4))" >>"$dir/env"
    broker_script "$dir/restart" bash "source '$broker_support/broker.sh'; broker_kill '$dir'; broker_launch '$dir'"
    "broker_${kind}_make" "$dir" "${2:-$dir}" && broker_launch "$dir"
}

# Where a node listens, and where it finds its certificates.
broker_configure() {
    local dir=$1 listener=$2 tls_listener=$3 certificates=$4
    cat >"$dir/rabbitmq.conf" <<END_OF_CONFIGURATION
listeners.tcp.1 = $listener
listeners.ssl.1 = $tls_listener
ssl_options.cacertfile = $certificates/ca.pem
ssl_options.certfile = $certificates/server.pem
ssl_options.keyfile = $certificates/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
END_OF_CONFIGURATION
}

# RabbitMQ denies them from 4.3 on, unless they are exclusive. Debian's package of 4.3 permits them, unless told not to.
broker_deny_transient_queues() {
    [[ ! $2 =~ (^|-)(4\.([3-9]|[1-9][0-9])|[5-9]|[1-9][0-9])(\.|$) ]] ||
        echo "deprecated_features.permit.transient_nonexcl_queues = false" >>"$1/rabbitmq.conf"
}

broker_launch() {
    local kind tries
    kind=$(<"$1/kind")
    "broker_${kind}_launch" "$1" || return
    for ((tries = 0; tries < 600; tries++)); do
        "broker_${kind}_serves" "$1" && return
        broker_alive "$1" || break
        sleep 0.1
    done
    echo "the private RabbitMQ does not start; its log ends with" >&2
    "broker_${kind}_log" "$1" | tail -n 30 >&2
    return 1
}

broker_stop() {
    if [[ -e $1/kind ]]; then
        broker_kill "$1"
        "broker_$(<"$1/kind")_remove" "$1"
    fi
    rm -rf "$1"
}

broker_kill() { "broker_$(<"$1/kind")_kill" "$1"; }

broker_alive() { [[ -e $1/kind ]] && "broker_$(<"$1/kind")_alive" "$(realpath "$1")"; }

broker_script() {
    printf '#!/usr/bin/env %s\n%s\n' "$2" "$3" >"$1"
    chmod 755 "$1"
}

# Sets broker_ports to the first of ten ports that nobody uses. They stay ours until this shell and all that it has started
# have ended, because all these have the lock file open, so another node that starts at the same time takes others.
# All are below 32768, where the kernel begins to hand out ports to clients.
broker_take_ports() {
    local lock port free
    for (( ; ; )); do
        broker_ports=$((RANDOM % 1200 * 10 + 20000)) free=yes
        { exec {lock}>>"${TMPDIR:-/tmp}/coney-ports.$broker_ports"; } 2>/dev/null || continue # another user's
        flock --nonblock "$lock" || free=
        for ((port = broker_ports; port < broker_ports + 10; port++)); do
            ! broker_listens "$port" || free=
        done
        [[ -z $free ]] || return 0
        exec {lock}>&-
    done
}

broker_listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
