# Sourced by run-isolated.sh of tests/client and tests/middleware. Installs the distribution in the
# folder $distribution of $root, and nothing else of the project, into an environment of its own.
#
# $python is the interpreter there. The script goes on in $place, a folder that goes when it ends:
# "import labapi" does not find the working tree there.

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT INT TERM
cd "$place"
"${PYTHON:-python3}" -m venv "$place/venv"
python="$place/venv/bin/python"

install() {
    "$python" -m pip install -q --disable-pip-version-check "$@"
}

# A wheel, built from a copy: what is installed is what would be published.
cp -R "$root/$distribution" "$place/$distribution"
rm -rf "$place/$distribution/build" "$place/$distribution"/*.egg-info
install "$place/$distribution"

# What all tests need, where those of the distribution are put beside it.
mkdir -p "$place/work/tests"
cp "$root/tests/__init__.py" "$root/tests/processes.py" "$place/work/tests/"
cp "$root/pyproject.toml" "$place/work/"
