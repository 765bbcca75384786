#!/bin/sh
# The programs that tests start and that are no Python packages: as root on Debian or Ubuntu they are installed,
# elsewhere it is said what is missing, and tests that need it are skipped and say so.
set -eu

missing=""
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing="$missing prometheus"
command -v prometheus-pushgateway >/dev/null || command -v pushgateway >/dev/null || missing="$missing prometheus-pushgateway"
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium fonts-dejavu-core"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed here, so some tests are skipped:$missing (Debian: apt-get install$missing)" >&2
    exit 0
fi

echo "installing$missing"
# Debian starts a server when it is installed; tests start their own.
guard=/usr/sbin/policy-rc.d
if [ ! -e "$guard" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$guard"
    chmod +x "$guard"
    trap 'rm -f "$guard"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # several names
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null; }; then
    echo "not installed, so some tests are skipped:$missing" >&2
fi
