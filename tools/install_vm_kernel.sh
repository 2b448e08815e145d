#!/bin/sh
# Debian's kernel for the machine that tests boot in QEMU (src/hakobune/testing/machine.py): unpacked in a cache
# directory, once, never installed. What cannot be had is printed, and the tests that want it are skipped with that reason.
# HAKOBUNE_PEERS=no fetches nothing.
#
# <cache>/hakobune-peers/vm/boot/vmlinuz-*, <cache>/hakobune-peers/vm/lib/modules/
set -u

home="${XDG_CACHE_HOME:-$HOME/.cache}/hakobune-peers/vm"

[ "${HAKOBUNE_PEERS:-yes}" = no ] && exit 0
[ -d "$home/boot" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 0

image=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n 1)
mkdir -p "${home%/*}"
made=$(mktemp -d "${home%/*}/.vm-XXXXXX") || exit 0
trap 'rm -rf "$made"' EXIT
trap 'exit 130' INT TERM

echo "==> peers: fetching ${image:-linux-image-amd64} for the machine in QEMU"
fetch() { (cd "$made" && apt-get download -qq -o APT::Sandbox::User=root "$1") >"$made/log" 2>&1; }
if [ -n "$image" ] && { fetch "$image" || { apt-get update -qq >/dev/null 2>&1; fetch "$image"; }; } &&
    dpkg-deb --fsys-tarfile "$made"/*.deb | tar -x -C "$made" ./boot ./lib/modules; then
    mkdir "$made/vm" && mv "$made/boot" "$made/lib" "$made/vm" && mv -T "$made/vm" "$home" 2>/dev/null # another run may have been faster
else
    echo "==> peers: no kernel: $(tail -n 1 "$made/log" 2>/dev/null)"
fi
exit 0
