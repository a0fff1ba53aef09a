#!/usr/bin/env bash
# Install the real clients and backends the tests use, where they are missing.
set -euo pipefail
# Debian puts nghttpd into a directory that only root has on its path.
PATH="$PATH:/usr/sbin:/usr/local/sbin"

packages=()
need() { # need PACKAGE COMMAND...
    local package=$1 program
    shift
    for program; do
        command -v "$program" >/dev/null || { packages+=("$package"); return 0; }
    done
}
need nghttp2-client nghttp h2load
need nghttp2-server nghttpd
need curl curl
need nodejs node
# The server and its modules; the package apache2 would also start it, as a service on port 80.
need apache2-bin apache2
need chromium chromium
need openssl openssl
[ ${#packages[@]} = 0 ] && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >/dev/null
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
else
    echo "The tests need programs that are missing. Install them with:" \
        "sudo apt-get install --no-install-recommends ${packages[*]}" >&2
    exit 1
fi
