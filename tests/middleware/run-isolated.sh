#!/bin/sh
# Install labapi-middleware, and nothing else of the project, into an environment of its own and run
# the tests of the filters there. Shows that the filters need neither labapi nor what it needs.
#
#   tests/middleware/run-isolated.sh [pytest arguments]
#
# Recipe: test-middleware: ; tests/middleware/run-isolated.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
distribution=middleware
. "$root/tests/isolated.sh"

# As installed by itself: every filter can be loaded.
"$python" - <<'PYTHON'
from importlib.metadata import distribution

for entry in distribution("labapi-middleware").entry_points:
    if entry.group == "paste.filter_factory":
        entry.load()
        print("loads without anything else:", entry.name)
PYTHON
install "labapi-middleware[redis,memcached]" pytest hypothesis PasteDeploy "setuptools>=77"

"$python" - <<'PYTHON'
import importlib.util
import sys

unwanted = [
    name
    for name in ("labapi", "sqlalchemy", "kombu", "webob", "eventlet", "oslo_config")
    if importlib.util.find_spec(name)
]
sys.exit(f"this environment is not isolated: {unwanted}" if unwanted else 0)
PYTHON

mkdir -p work/middleware
cp "$root/middleware/README.md" work/middleware/  # its tables are tested
cp "$root/tests/conftest.py" work/tests/
cp -R "$root/tests/middleware" work/tests/middleware
cp -R "$root/docs" work/docs
cd work
"$python" -m pytest -q -p no:cacheprovider --rootdir . tests/middleware "$@"
