# shellcheck shell=bash
# Part of broker.sh: a node that is a process, with an epmd of its own.

broker_process_make() {
    local dir=$1 first=$2 amqp_port tool debian bin root= within=() as=()
    amqp_port=$(<"$dir/port")
    if [[ -z ${CONEY_RELEASE:-} ]]; then
        bin=$(broker_bin) || return
    else
        debian=$(broker_debian "$CONEY_RELEASE") || return
        within=("$broker_support/debian" "$debian") bin=/usr/lib/rabbitmq/bin root=/var/cache/coney/$debian
        "${within[@]}" true || return
    fi
    mkdir "$dir/home"
    echo "coney-$amqp_port@localhost" >"$dir/node"
    if [[ $first == "$dir" ]]; then
        echo "$((amqp_port + 3))" >"$dir/epmd.port"
    else
        cp "$first/epmd.port" "$dir/"
        cp -p "$first/home/.erlang.cookie" "$dir/home/" # who shares it may join
    fi
    broker_configure "$dir" "127.0.0.1:$amqp_port" "127.0.0.1:$((amqp_port + 1))" "$dir/certificates"
    echo "log.file.level = info" >>"$dir/rabbitmq.conf"
    [[ -z ${broker_plugins:-} ]] ||
        printf 'management.tcp.%s\n' "ip = 127.0.0.1" "port = $((amqp_port + 4))" >>"$dir/rabbitmq.conf"
    broker_deny_transient_queues "$dir" "$(cd "$root$bin/../lib" 2>/dev/null && echo rabbitmq_server-*)"

    if [[ $EUID == 0 ]]; then
        as=("${within[@]}" setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups --)
        "${within[@]}" chown -R rabbitmq: "$dir"
        chmod 755 "$dir"
    fi
    # RabbitMQ's own scripts, in an environment that holds nothing but this node. The little busy
    # waiting makes it start in a third of the time on a virtual machine.
    for tool in rabbitmq-server rabbitmqctl epmd; do
        # The user rabbitmq may not read where we are, and Erlang 27 complains of that.
        broker_script "$dir/$tool" sh "cd '$dir'
exec ${as[*]} env -i PATH='$bin:/usr/local/bin:/usr/bin:/bin' HOME='$dir/home' LANG=C.UTF-8 \\
    ERL_EPMD_ADDRESS=127.0.0.1 ERL_EPMD_PORT=$(<"$dir/epmd.port") ERL_CRASH_DUMP_SECONDS=0 \\
    RABBITMQ_NODENAME=$(<"$dir/node") RABBITMQ_DIST_PORT=$((amqp_port + 2)) \\
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE='$dir/rabbitmq.conf' \\
    RABBITMQ_ADVANCED_CONFIG_FILE='$dir/advanced.config' RABBITMQ_ENABLED_PLUGINS_FILE='$dir/plugins' \\
    RABBITMQ_MNESIA_BASE='$dir/data' RABBITMQ_LOG_BASE='$dir/log' RABBITMQ_PID_FILE='$dir/pid' \\
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}' \\
    RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD=very_short RABBITMQ_ALLOW_INPUT=1 $tool \"\$@\""
    done
    broker_script "$dir/eval" sh \
        "exec ${within[*]} env HOME='$dir/home' ERL_EPMD_PORT=$(<"$dir/epmd.port") erl_call -n $(<"$dir/node") -e"
    broker_script "$dir/signal" bash "source '$broker_support/broker.sh'; broker_process_signal '$dir' \"\$1\""

    [[ $first != "$dir" ]] || broker_process_spawn "$dir" epmd epmd
}

broker_process_launch() { broker_process_spawn "$1" broker rabbitmq-server -noinput; }

# Sessions of their own keep Ctrl-C away from node and epmd; each stays one process, whose id is $!.
# (Without RABBITMQ_ALLOW_INPUT a shell would stand between, with -noinput it needs no terminal.)
broker_process_spawn() {
    setsid "$1/$3" "${@:4}" >"$1/log/$2.log" 2>&1 </dev/null &
    disown; echo "$!" >"$1/$2.pid"
}

broker_process_serves() { "$1/eval" <<<"rabbit:await_startup()." 2>/dev/null | grep -q '{ok, ok}'; }

broker_process_log() { cat "$1"/log/*; }

broker_process_kill() { broker_process_end "$1" broker; }

broker_process_remove() { broker_process_end "$1" epmd; }

broker_process_end() {
    local pid
    pid=$(cat "$1/$2.pid" 2>/dev/null) && broker_process_owns "$1" "$pid" || return 0
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
}

broker_process_alive() {
    local pid
    pid=$(cat "$1/broker.pid" 2>/dev/null) && broker_process_owns "$1" "$pid"
}

broker_process_signal() { broker_process_alive "$1" && kill -s "$2" "$(<"$1/broker.pid")"; }

# A number in a file may long belong to somebody else's process. Ours is a child of this shell, or
# of an earlier one; at its very start it does not have its environment yet, but a command line.
broker_process_owns() {
    grep -qsE "^PPid:[[:space:]]*$$\$" "/proc/$2/status" || grep -qs "$1/" "/proc/$2/environ" "/proc/$2/cmdline"
}

# The Debian that has that release of RabbitMQ.
broker_debian() {
    case $1 in
    4 | 4.0) echo trixie ;;
    4.3) echo forky ;;
    *)
        echo "there is no RabbitMQ $1 to start: CONEY_RELEASE may be 4.0 or 4.3, or not set for the installed one" >&2
        return 1
        ;;
    esac
}

# Debian's /usr/sbin/rabbitmq-server is a wrapper that insists on the system's own node; the real
# scripts stand elsewhere.
broker_bin() {
    local tool
    for tool in /usr/lib/rabbitmq/bin/rabbitmq-server "$(command -v rabbitmq-server)"; do
        [[ ! -x $tool ]] || { dirname "$tool"; return; }
    done
    echo "rabbitmq-server is not installed; try ./dev setup, or set CONEY_BROKER_IMAGE or CONEY_TEST_URI" >&2
    return 1
}
