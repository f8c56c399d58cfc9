#!/bin/sh
# Makes sure that this machine has what the tests need besides Python: the programs that they start,
# and servers that listen: RabbitMQ on 5672, MariaDB on 3306, Redis on 6379. What is missing is
# installed from Debian's packages and started.
set -eu

listens() { "${PYTHON:-python3}" -c "import socket; socket.create_connection(('127.0.0.1', $1), 1)" 2>/dev/null; }

program() { # command package
    command -v "$1" >/dev/null || package "$2"
}

package() { # package
    dpkg -s "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" != 0 ]; then
        echo "install the package $1, or run as root" >&2
        exit 1
    fi
    echo "installing $1"
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        --no-install-recommends install "$1" >/dev/null
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
program zsh zsh
program fish fish
program sshd openssh-server
program redis-server redis-server
program mariadb-install-db mariadb-server
program garbd galera-arbitrator-4
program rsync rsync
program haproxy haproxy
program promtool prometheus
program systemd-analyze systemd
program logrotate logrotate
program rabbitmq-server rabbitmq-server
# The packages that docs/deploy.md installs, whose machines in tests/integration/deploy have this one's
# programs.
for name in nginx curl python3-venv; do package "$name"; done
program ip iproute2
program openssl openssl
server 5672 rabbitmq-server rabbitmq-server
server 3306 mariadb-server mariadbd-safe
server 6379 redis-server redis-server --bind 127.0.0.1 --save "" --appendonly no
