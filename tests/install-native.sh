#!/usr/bin/env bash
# Install what the native engines are built with, where it is missing: a compiler, and the headers of libnghttp2 and Python.
set -euo pipefail
python=${1:-python3}

packages=()
command -v "${CC:-gcc}" >/dev/null || packages+=(gcc)
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
if ! command -v pkg-config >/dev/null; then
    packages+=(pkg-config libnghttp2-dev)
elif ! pkg-config --exists libnghttp2; then
    packages+=(libnghttp2-dev)
fi
"$python" -c 'import pathlib, sys, sysconfig; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' ||
    packages+=(python3-dev)
[ ${#packages[@]} = 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
    echo "The native engines cannot be built yet. Install what they need with:" \
        "sudo apt-get install --no-install-recommends ${packages[*]}" >&2
    exit 1
fi
