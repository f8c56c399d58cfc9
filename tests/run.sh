#!/bin/sh
# Runs the project's checks: all of them, or the ones named:
# lint unit functional attacks integration chaos swift keystone isolated
set -eu
cd "$(dirname "$0")/.."
BIN=${VENV:-.venv}/bin
checks=${*:-lint services unit functional attacks integration chaos swift keystone isolated report}

for check in $checks; do
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
        "$BIN/coverage" run -m pytest -q tests/unit tests/developing tests/middleware
        ;;
    functional)
        "$BIN/coverage" run -m pytest -q tests/functional
        ;;
    attacks)
        "$BIN/coverage" run -m pytest -q tests/attacks
        ;;
    integration)
        "$BIN/coverage" run -m pytest -q tests/integration \
            --ignore tests/integration/swift --ignore tests/integration/keystone
        ;;
    chaos)
        "$BIN/python" -m pytest -q -s tests/chaos
        ;;
    swift)
        "$BIN/python" -m pytest -q tests/integration/swift
        ;;
    keystone)
        "$BIN/python" -m pytest -q tests/integration/keystone
        ;;
    isolated)
        tests/middleware/run-isolated.sh
        ;;
    report)
        "$BIN/coverage" combine -q
        "$BIN/coverage" report --skip-covered --skip-empty
        ;;
    *)
        echo "there is no check '$check'" >&2
        exit 2
        ;;
    esac
done
