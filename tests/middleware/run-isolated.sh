#!/bin/sh
# Install labapi-middleware, and nothing else of the project, into an environment of its own and run
# the tests of the filters there. Shows that the filters need neither labapi nor what it needs.
#
#   tests/middleware/run-isolated.sh [pytest arguments]
#
# Recipe: test-middleware: ; tests/middleware/run-isolated.sh
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT INT TERM

cd "$place"  # not where "import labapi" would find the working tree
"${PYTHON:-python3}" -m venv "$place/venv"
python="$place/venv/bin/python"

# A wheel, built from a copy: what is installed is what would be published, and the tests find the
# package there and not in the working tree.
cp -R "$root/middleware" "$place/middleware"
rm -rf "$place/middleware/build" "$place"/middleware/*.egg-info
"$python" -m pip install -q --disable-pip-version-check "$place/middleware"
# As installed by itself: every filter can be loaded.
"$python" - <<'PYTHON'
from importlib.metadata import distribution

for entry in distribution("labapi-middleware").entry_points:
    if entry.group == "paste.filter_factory":
        entry.load()
        print("loads without anything else:", entry.name)
PYTHON
"$python" -m pip install -q --disable-pip-version-check \
    "labapi-middleware[redis,memcached]" pytest hypothesis PasteDeploy "setuptools>=77"

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

mkdir -p "$place/work/tests" "$place/work/middleware"
cp "$root/middleware/README.md" "$place/work/middleware/"  # its tables are tested
cp "$root/tests/__init__.py" "$root/tests/processes.py" "$place/work/tests/"
cp -R "$root/tests/middleware" "$place/work/tests/middleware"
cp -R "$root/docs" "$place/work/docs"
cp "$root/pyproject.toml" "$place/work/"
cd work
"$python" -m pytest -q -p no:cacheprovider tests/middleware "$@"
