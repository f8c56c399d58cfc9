#!/bin/sh
# Runs the project's checks: all of them, or the ones named:
# lint unit functional client attacks integration chaos swift keystone isolated report
set -eu
cd "$(dirname "$0")/.."
BIN=${VENV:-.venv}/bin
# Some processes share the tests of a suite, file by file: two, or more where tests mostly wait for
# servers. With COVERAGE=1 they take longer, and the check report shows what they did not reach.
run_pytest() {
    "$BIN/python" -m pytest -q -p tests.again -o "cache_dir=.pytest_cache/$check" \
        -n "${PROCESSES:-2}" --dist loadfile ${COVERAGE:+--cov --cov-report= --cov-append} "$@"
}

# On a busy machine a test may fail with nothing broken. The files in which one did run once more, whole,
# and what they said at first stays above; who fails again has failed.
suite() {
    status=0
    run_pytest "$@" || status=$?
    [ "$status" = 1 ] || return "$status" # 1: tests have failed
    echo "== $check: the files in which tests failed, once more =="
    run_pytest --again "$@"
}

once_more() {
    "$@" || {
        echo "== $check: once more =="
        "$@"
    }
}
checks=${*:-services chaos swift keystone isolated attacks lint unit functional client integration}

# What waits more than it computes runs beside the other checks, in a process group of its own, and
# is shown when it has ended.
beside=
outputs=$(mktemp -d)
trap stop_beside EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

start_beside() {
    # The shell has what it runs in the background ignore SIGINT, on which pytest cleans up.
    # shellcheck disable=SC2016  # the inner shell expands these
    setsid env --default-signal=INT,QUIT sh -c '
        trap : INT  # what it runs ends first
        tests/run.sh "$1" >"$2/$1" 2>&1
        echo $? >"$2/$1.ended"
        mv "$2/$1.ended" "$2/$1.status"' - "$1" "$outputs" &
    beside="$beside $1:$!"
}

# show_beside [all]: shows those that have ended, and waits for all of them first
show_beside() {
    running=
    for job in $beside; do
        name=${job%:*}
        [ "${1:-}" != all ] || wait "${job#*:}" || true
        if [ "${1:-}" = all ] || [ -e "$outputs/$name.status" ]; then
            cat "$outputs/$name"
            [ "$(cat "$outputs/$name.status")" = 0 ] || failed="$failed $name"
        else
            running="$running $job"
        fi
    done
    beside=$running
}

stop_beside() {
    for job in $beside; do
        kill -s INT -- "-${job#*:}" 2>/dev/null || true
    done
    for job in $beside; do
        timeout 60 tail --pid "${job#*:}" -f /dev/null || kill -s KILL -- "-${job#*:}" || true
    done
    rm -rf "$outputs"
}

failed=
for check in $checks; do
    # Alone, one runs here; so does that which this script has started beside itself.
    case $#:$check in
    1:*) ;;
    *:chaos | *:swift | *:keystone | *:isolated | *:attacks)
        start_beside "$check"
        continue
        ;;
    esac
    echo "== $check =="
    case $check in
    lint)
        "$BIN/ruff" format --check .
        "$BIN/ruff" check .
        "$BIN/mypy"
        "$BIN/lint-imports" --no-cache
        ;;
    services)
        tests/services.sh
        export LABAPI_REQUIRE_SERVICES=1  # from here on, what is missing fails and skips nothing
        "$BIN/coverage" erase
        ;;
    unit)
        suite tests/unit tests/developing tests/middleware
        ;;
    functional)
        suite tests/functional
        ;;
    client)
        suite tests/client
        ;;
    attacks)
        PROCESSES=3 suite tests/attacks
        ;;
    integration)
        PROCESSES=4 suite tests/integration \
            --ignore tests/integration/swift --ignore tests/integration/keystone
        ;;
    chaos) # what it finds is no accident, and it does not find it twice
        MINUTES=${MINUTES:-1} "$BIN/python" -m pytest -q -s tests/chaos
        ;;
    swift)
        PROCESSES=0 suite tests/integration/swift
        ;;
    keystone)
        PROCESSES=0 suite tests/integration/keystone
        ;;
    isolated)
        once_more tests/middleware/run-isolated.sh
        once_more tests/client/run-isolated.sh
        ;;
    report)
        "$BIN/coverage" report --skip-covered --skip-empty
        ;;
    *)
        echo "there is no check '$check'" >&2
        exit 2
        ;;
    esac
    show_beside
done
show_beside all
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
