#!/usr/bin/env bash
# Install what a virtual environment needs, where it is missing: Debian keeps venv in a package of its own.
set -euo pipefail
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python3 -c 'import venv, ensurepip' 2>/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq python3 python3-venv
else
    echo "Python 3.11 with venv is missing. Install it with: sudo apt-get install python3 python3-venv" >&2
    exit 1
fi
