#!/bin/sh
# Install labapi-client, and nothing else of the project, into an environment of its own and run the
# tests there that need no server. Shows that SDK and command line install on a laptop.
#
#   tests/client/run-isolated.sh [pytest arguments]
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
distribution=client
. "$root/tests/isolated.sh"

# As installed by itself: every entry point can be loaded, and nothing of the server is there.
"$python" - <<'PYTHON'
import importlib.util
import sys
from importlib.metadata import distribution

for entry in distribution("labapi-client").entry_points:
    entry.load()
server = ("labapi", "labapi_middleware", "sqlalchemy", "kombu", "eventlet", "webob", "oslo_config")
found = [name for name in server if importlib.util.find_spec(name)]
sys.exit(f"the client brings the server: {found}" if found else 0)
PYTHON
"$place/venv/bin/lab" --help >/dev/null
# An error of one line, and the status that says so: there is no lab here.
status=0
LABAPI_URL=http://127.0.0.1:1 "$place/venv/bin/lab" slave list 2>"$place/error" || status=$?
[ "$status" = 2 ] && [ "$(wc -l <"$place/error")" = 1 ] || { cat "$place/error"; exit 1; }

install pytest
mkdir -p work/tests/client
cp "$root/tests/client/__init__.py" work/tests/client/
cp -R "$root/tests/client/alone" work/tests/client/alone
cd work
"$python" -m pytest -q -p no:cacheprovider tests/client/alone "$@"
