#!/bin/sh
# The real programs that tests use as peers, from Debian's own packages, without starting one service.
# Nothing here is needed to run Hakobune. What cannot be had is printed, and the tests that want it are
# skipped with that reason. HAKOBUNE_PEERS=no leaves the machine alone.
set -u

PEERS="containerd runc crun podman docker.io uidmap docker-registry skopeo umoci mmdebstrap nginx-light redis-server redis-tools postgresql postgresql-client busybox-static tmux zstd qemu-system-x86"

if [ "${HAKOBUNE_PEERS:-yes}" = no ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    echo "==> peers: not root on Debian (or HAKOBUNE_PEERS=no): using what is installed"
    exit 0
fi

missing() {
    for package in $PEERS; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
    done
}

wanted=$(missing)
[ -z "$wanted" ] && exit 0

# policy-rc.d is Debian's way to say "install, but start nothing"; an administrator's own one is left alone.
policy=/usr/sbin/policy-rc.d
made=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=yes
fi
trap '[ "$made" = yes ] && rm -f "$policy"' EXIT
trap 'exit 130' INT TERM

export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
echo "==> peers: installing $wanted"
get() { apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1; }
# shellcheck disable=SC2086
if ! get $wanted; then
    apt-get update -qq >/dev/null 2>&1
    # shellcheck disable=SC2086
    get $wanted || for package in $wanted; do get "$package"; done
fi

left=$(missing)
[ -z "$left" ] || echo "==> peers: not to be had here: $left(tests that need them are skipped)"
exit 0
