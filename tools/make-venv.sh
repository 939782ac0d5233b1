#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the virtual environment $1 with a Python of at least 3.11, and install g3 into it with the extras $2 (may be empty).
set -eu
venv=$1
extras=${2:-}
cd "$(dirname "$0")/.."

usable() { "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if usable "$candidate"; then echo "$candidate"; return; fi
    done
    echo "g3 needs Python 3.11 or newer; set PYTHON to one" >&2
    exit 1
}

if ! usable "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian keeps it in a package of its own.
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            echo "the Python module venv is missing: apt-get install python3-venv" >&2
            exit 1
        fi
        apt-get update -qq || true
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv </dev/null >&2
    fi
    echo "making $venv with $("$python" --version)" >&2
    "$python" -m venv --clear "$venv"
fi

# Compat mode, since twisted.plugin walks the real directories of sys.path and the import hooks of other modes have none.
target=.
[ -z "$extras" ] || target=".[$extras]"
attempt=1
until PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install -q --disable-pip-version-check --config-settings editable_mode=compat -e "$target" </dev/null >&2; do
    if [ "$attempt" -ge 3 ]; then
        echo "pip could not install $target" >&2
        exit 1
    fi
    attempt=$((attempt + 1))
    echo "pip failed; once more in 5 seconds" >&2
    sleep 5
done
# Where PYTHONDONTWRITEBYTECODE is set, as in many containers, every process would compile all modules again.
"$venv/bin/python" -m compileall -q g3 twisted
# Write Twisted's plugin cache now: a daemon that runs as somebody else could not.
"$venv/bin/python" -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
