# shellcheck shell=bash
# A RabbitMQ node of our own, for ./dev to source: own directory, own ports, own epmd, nothing
# shared with a broker of the system. Nothing in it is worth keeping, so it ends by SIGKILL.
#
#   broker_start DIR   starts a node that lives in the new directory DIR and waits until it serves
#   broker_stop DIR    ends it and removes DIR
#   broker_alive DIR
#
# DIR/env holds, for sourcing, what tests need to know:
#   CONEY_TEST_URI           where it listens; CONEY_URI, for the samples, is the same
#   CONEY_TEST_BROKER_PID    the process to stop, continue or kill
#   CONEY_TEST_RABBITMQCTL   a rabbitmqctl that talks to this node

broker_start() {
    local dir=$1 bin amqp_port dist_port epmd_port tool
    bin=$(broker_bin)
    amqp_port=$(broker_free_port)
    dist_port=$(broker_free_port)
    epmd_port=$(broker_free_port)

    mkdir -p "$dir/home" "$dir/log"
    echo "[]." >"$dir/plugins"
    cat >"$dir/rabbitmq.conf" <<END
listeners.tcp.1 = 127.0.0.1:$amqp_port
log.file.level = info
END

    # RabbitMQ's own scripts, in an environment that holds nothing but this node. The little busy
    # waiting makes it start in a third of the time on a virtual machine.
    local as=()
    if [[ $EUID == 0 ]]; then
        as=(setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups --)
        chown -R rabbitmq: "$dir"
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

    # Sessions of their own keep Ctrl-C away from them; each stays one process, whose id is \$!.
    # (Without RABBITMQ_ALLOW_INPUT a shell would stand between, with -noinput it needs no terminal.)
    setsid "$dir/epmd" >"$dir/log/epmd.log" 2>&1 </dev/null &
    disown; echo "$!" >"$dir/epmd.pid"
    setsid "$dir/rabbitmq-server" -noinput >"$dir/log/console.log" 2>&1 </dev/null &
    disown; echo "$!" >"$dir/broker.pid"
    cat >"$dir/env" <<END
export CONEY_TEST_URI=amqp://guest:guest@127.0.0.1:$amqp_port/
export CONEY_URI=amqp://guest:guest@127.0.0.1:$amqp_port/
export CONEY_TEST_BROKER_PID=$!
export CONEY_TEST_RABBITMQCTL=$dir/rabbitmqctl
END

    local tries
    for ((tries = 0; tries < 600; tries++)); do
        broker_listens "$amqp_port" && "$dir/rabbitmqctl" --quiet await_startup --timeout 60 && return
        broker_alive "$dir" || break
        sleep 0.1
    done
    echo "the private RabbitMQ does not start; its log ends with" >&2
    cat "$dir"/log/* | tail -n 30 >&2
    return 1
}

broker_stop() {
    local dir=$1 pid
    for pid in $(cat "$dir/broker.pid" "$dir/epmd.pid" 2>/dev/null); do
        broker_owns "$dir" "$pid" || continue
        kill -KILL "$pid" 2>/dev/null || true
        while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
    done
    rm -rf "$dir"
}

broker_alive() {
    local pid
    pid=$(cat "$1/broker.pid" 2>/dev/null) && broker_owns "$(realpath "$1")" "$pid"
}

# A number in a file may long belong to somebody else's process. Ours is a child of this shell, or
# of an earlier one; at its very start it does not have its environment yet.
broker_owns() {
    grep -qsE "^PPid:[[:space:]]*$$\$" "/proc/$2/status" || grep -qs "HOME=$1/home" "/proc/$2/environ"
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

# Below 32768, where the kernel starts to hand out ports to clients.
broker_free_port() {
    local port=$((RANDOM % 12000 + 20000))
    while broker_listens "$port"; do port=$((port + 1)); done
    echo "$port"
}

broker_listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}
