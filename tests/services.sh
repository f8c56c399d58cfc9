#!/bin/sh
# Makes sure that this machine has what the tests need besides Python: the programs that they start,
# and servers that listen: RabbitMQ on 5672, MariaDB on 3306, Redis on 6379. What is missing is
# installed from Debian's packages and started.
set -eu

listens() { "${PYTHON:-python3}" -c "import socket; socket.create_connection(('127.0.0.1', $1), 1)" 2>/dev/null; }

program() { # command package
    command -v "$1" >/dev/null && return
    if [ "$(id -u)" != 0 ]; then
        echo "there is no $1; install the package $2, or run as root" >&2
        exit 1
    fi
    echo "installing $2"
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends install "$2" >/dev/null
}

server() { # port package command...
    port=$1 package=$2
    shift 2
    listens "$port" && return
    program "$1" "$package"
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

program curl curl
program ping iputils-ping
program fping fping
program memcached memcached
program redis-server redis-server
program mariadb-install-db mariadb-server
program rabbitmq-server rabbitmq-server
server 5672 rabbitmq-server rabbitmq-server
server 3306 mariadb-server mariadbd-safe
server 6379 redis-server redis-server --bind 127.0.0.1 --save "" --appendonly no
