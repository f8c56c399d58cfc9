#!/bin/sh
# Makes sure that the servers of the integration tests listen on this machine: RabbitMQ on 5672,
# MariaDB on 3306, Redis on 6379. What is missing is installed from Debian's packages and started,
# and so is curl.
set -eu

listens() { "${PYTHON:-python3}" -c "import socket; socket.create_connection(('127.0.0.1', $1), 1)" 2>/dev/null; }

need() { # port package command...
    port=$1 package=$2
    shift 2
    listens "$port" && return
    if ! command -v "$1" >/dev/null; then
        if [ "$(id -u)" != 0 ]; then
            echo "nothing listens on 127.0.0.1:$port; install and start $package, or run as root" >&2
            exit 1
        fi
        echo "installing $package"
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$package" >/dev/null
    fi
    listens "$port" && return
    echo "starting $package"
    "$@" >/dev/null 2>&1 &
    for _ in $(seq 120); do
        listens "$port" && return
        sleep 0.5
    done
    echo "$package does not listen on 127.0.0.1:$port" >&2
    exit 1
}

if ! command -v curl >/dev/null; then
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install curl >/dev/null
fi
need 5672 rabbitmq-server rabbitmq-server
need 3306 mariadb-server mariadbd-safe
need 6379 redis-server redis-server --bind 127.0.0.1 --save "" --appendonly no
