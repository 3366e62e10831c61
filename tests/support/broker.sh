# shellcheck shell=bash
# A RabbitMQ node of our own, for ./dev to source: own directory, own ports, own epmd, nothing
# shared with a broker of the system. Nothing in it is worth keeping, so it ends by SIGKILL.
#
#   broker_start DIR   starts a node that lives in the new directory DIR and waits until it serves;
#                      "broker_start DIR PORT" lets it use the epmd at that port, as nodes of a cluster must
#   broker_stop DIR    ends it and removes DIR
#   broker_alive DIR
#
# DIR/env holds, for sourcing, what tests need to know:
#   CONEY_TEST_URI           where it listens; CONEY_URI, for the samples, is the same. It has no "/" at its end, which
#                            Spring reads as an empty virtual host
#   CONEY_TEST_TLS_PORT      where it speaks TLS; it asks for a client certificate and takes none, too. SASL
#                            EXTERNAL logs in the user whose name is the certificate's CN
#   CONEY_TEST_CERTIFICATES  a directory of them; see certificates.sh
#   CONEY_TEST_BROKER_PID    the process to stop, continue or kill
#   CONEY_TEST_BROKER_DIR    DIR; after a restart the process is the one in DIR/broker.pid
#   CONEY_TEST_RABBITMQCTL   a rabbitmqctl that talks to this node
#   CONEY_TEST_EVAL          has this node evaluate Erlang that comes on standard input, in a hundredth of the time that
#                            rabbitmqctl takes to start
#
# DIR/restart kills the node if it is alive, starts it again with its data and waits until it serves.
#
# With CONEY_RELEASE=4.0 or 4.3 the node is that of another Debian, which tests/support/debian sets up.

source "$(dirname "${BASH_SOURCE[0]}")/certificates.sh"

broker_start() {
    local dir=$1 here bin amqp_port tls_port dist_port epmd_port tool debian root= within=()
    here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
    if [[ -z ${CONEY_RELEASE:-} ]]; then
        bin=$(broker_bin)
    else
        debian=$(broker_debian "$CONEY_RELEASE") || return
        within=("$here/debian" "$debian") bin=/usr/lib/rabbitmq/bin root=/var/cache/coney/$debian
        "${within[@]}" true || return
    fi
    broker_take_ports
    amqp_port=$broker_ports tls_port=$((broker_ports + 1)) dist_port=$((broker_ports + 2))
    epmd_port=${2:-$((broker_ports + 3))}

    mkdir -p "$dir/home" "$dir/log"
    echo "$amqp_port" >"$dir/port"
    echo "$epmd_port" >"$dir/epmd.port"
    certificates_make "$dir/certificates"
    echo "[rabbitmq_auth_mechanism_ssl]." >"$dir/plugins"
    cat >"$dir/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$amqp_port
listeners.ssl.1 = 127.0.0.1:$tls_port
ssl_options.cacertfile = $dir/certificates/ca.pem
ssl_options.certfile = $dir/certificates/server.pem
ssl_options.keyfile = $dir/certificates/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
ssl_cert_login_from = common_name
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
log.file.level = info
END
    # RabbitMQ denies these queues from 4.3 on. Debian's package of 4.3 permits them, unless it is told not to.
    ! compgen -G "$root$bin/../lib/rabbitmq_server-4.[3-9]*" >/dev/null ||
        echo "deprecated_features.permit.transient_nonexcl_queues = false" >>"$dir/rabbitmq.conf"

    # RabbitMQ's own scripts, in an environment that holds nothing but this node. The little busy
    # waiting makes it start in a third of the time on a virtual machine.
    local as=()
    if [[ $EUID == 0 ]]; then
        as=("${within[@]}" setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups --)
        "${within[@]}" chown -R rabbitmq: "$dir"
        chmod 755 "$dir"
    fi
    for tool in rabbitmq-server rabbitmqctl epmd; do
        cat >"$dir/$tool" <<END
#!/bin/sh
cd "$dir" # the user rabbitmq may not read where we are, and Erlang 27 complains of that
exec ${as[*]} env -i PATH="$bin:/usr/local/bin:/usr/bin:/bin" HOME="$dir/home" LANG=C.UTF-8 \\
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$epmd_port ERL_CRASH_DUMP_SECONDS=0 \\
    RABBITMQ_NODENAME=coney-$amqp_port@localhost RABBITMQ_DIST_PORT=$dist_port \\
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$dir/rabbitmq.conf" \\
    RABBITMQ_ADVANCED_CONFIG_FILE="$dir/advanced.config" RABBITMQ_ENABLED_PLUGINS_FILE="$dir/plugins" \\
    RABBITMQ_MNESIA_BASE="$dir/data" RABBITMQ_LOG_BASE="$dir/log" RABBITMQ_PID_FILE="$dir/pid" \\
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \\
    RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=very_short RABBITMQ_ALLOW_INPUT=1 $tool "\$@"
END
        chmod 755 "$dir/$tool"
    done

    cat >"$dir/env" <<END
export CONEY_TEST_URI=amqp://guest:guest@127.0.0.1:$amqp_port
export CONEY_URI=amqp://guest:guest@127.0.0.1:$amqp_port
export CONEY_TEST_TLS_PORT=$tls_port
export CONEY_TEST_CERTIFICATES=$dir/certificates
export CONEY_TEST_BROKER_PID=\$(cat "$dir/broker.pid")
export CONEY_TEST_BROKER_DIR=$dir
export CONEY_TEST_RABBITMQCTL=$dir/rabbitmqctl
export CONEY_TEST_EVAL=$dir/eval
END
    cat >"$dir/eval" <<END
#!/bin/sh
exec ${within[*]} env HOME="$dir/home" ERL_EPMD_PORT=$epmd_port erl_call -n coney-$amqp_port@localhost -e
END
    cat >"$dir/restart" <<END
#!/usr/bin/env bash
set -euo pipefail
source "$here/broker.sh"
broker_kill "$dir" broker
broker_launch "$dir" $amqp_port
END
    chmod 755 "$dir/restart" "$dir/eval"

    if [[ -z ${2:-} ]]; then
        setsid "$dir/epmd" >"$dir/log/epmd.log" 2>&1 </dev/null &
        disown; echo "$!" >"$dir/epmd.pid"
    fi
    broker_launch "$dir" "$amqp_port"
}

# Sessions of their own keep Ctrl-C away from node and epmd; each stays one process, whose id is $!.
# (Without RABBITMQ_ALLOW_INPUT a shell would stand between, with -noinput it needs no terminal.)
broker_launch() {
    local dir=$1 amqp_port=$2 tries
    setsid "$dir/rabbitmq-server" -noinput >"$dir/log/console.log" 2>&1 </dev/null &
    disown; echo "$!" >"$dir/broker.pid"
    for ((tries = 0; tries < 600; tries++)); do
        broker_listens "$amqp_port" && broker_serves "$dir" && return
        broker_alive "$dir" || break
        sleep 0.1
    done
    echo "the private RabbitMQ does not start; its log ends with" >&2
    cat "$dir"/log/* | tail -n 30 >&2
    return 1
}

broker_serves() { "$1/eval" <<<"rabbit:await_startup()." 2>/dev/null | grep -q '{ok, ok}'; }

broker_stop() {
    broker_kill "$1" broker
    broker_kill "$1" epmd
    rm -rf "$1"
}

broker_kill() {
    local pid
    pid=$(cat "$1/$2.pid" 2>/dev/null) && broker_owns "$1" "$pid" || return 0
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

broker_alive() {
    local pid
    pid=$(cat "$1/broker.pid" 2>/dev/null) && broker_owns "$(realpath "$1")" "$pid"
}

# A number in a file may long belong to somebody else's process. Ours is a child of this shell, or
# of an earlier one; at its very start it does not have its environment yet, but a command line.
broker_owns() {
    grep -qsE "^PPid:[[:space:]]*$$\$" "/proc/$2/status" || grep -qs "$1/" "/proc/$2/environ" "/proc/$2/cmdline"
}

# The Debian that has that release of RabbitMQ.
broker_debian() {
    case $1 in
    4 | 4.0) echo trixie ;;
    4.3) echo forky ;;
    *) echo "there is no RabbitMQ $1 to start: CONEY_RELEASE may be 4.0 or 4.3, or not set for the installed one" >&2 && return 1 ;;
    esac
}

# Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on the system's own node; the real
# scripts stand elsewhere.
broker_bin() {
    local tool
    for tool in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server)"; do
        [[ ! -x $tool ]] || { dirname "$tool"; return; }
    done
    echo "rabbitmq-server is not installed; try ./dev setup, or set CONEY_TEST_URI" >&2
    return 1
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
