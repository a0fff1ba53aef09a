#!/usr/bin/env bash
# Install what a virtual environment needs, where the Python that is to make it lacks it: Debian keeps venv in a package of its own.
set -euo pipefail
python=${1:-python3}

suits() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && "$python" -c 'import venv, ensurepip' 2>/dev/null
}

suits && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends python3 python3-venv >/dev/null
    suits && exit 0
else
    echo "Python 3.11 with venv is missing. Install it with: sudo apt-get install python3 python3-venv" >&2
fi
echo "$python is not Python 3.11 or newer with venv. Another one is chosen by: make PYTHON=/path/to/python3" >&2
exit 1
