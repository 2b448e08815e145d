#!/bin/sh
# CRIU as a peer for tests, where the one that Debian has for this release does not run on this kernel (a CRIU is made for
# the kernels of its time): the next release's, with its libraries, unpacked beside the system into the cache of peers.
# Nothing here is needed to run Hakobune. What cannot be had is said in one line. HAKOBUNE_PEERS=no fetches nothing.
set -u

SUITE=trixie
PACKAGES="criu libbsd0 libc6 libcap2 libcompel1 libedit2 libffi8 libgmp10 libgnutls30t64 libhogweed6t64 libidn2-0 libjansson4
 libmd0 libmnl0 libnet1 libnettle8t64 libnftables1 libnftnl11 libnl-3-200 libp11-kit0 libprotobuf-c1 libtasn1-6 libtinfo6
 libunistring5 libuuid1 libxtables12 libzstd1 zlib1g"

cache="${XDG_CACHE_HOME:-$HOME/.cache}/hakobune-peers"
home="$cache/criu-$SUITE"

[ "${HAKOBUNE_PEERS:-yes}" = no ] && exit 0
[ "$(id -u)" = 0 ] || exit 0
[ -d "$home" ] && exit 0
criu check >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null || { echo "==> peers: no apt here: no criu for this kernel"; exit 0; }

site=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | head -n 1)
made=$(mktemp -d /tmp/hakobune-criu-XXXXXX) || exit 0
trap 'rm -rf "$made"' EXIT
echo "==> peers: fetching criu of Debian's $SUITE (once)"
if sh -ec '
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial" "$1/root/bin"
    echo "deb $2 $3 main" >"$1/sources.list"
    apt="apt-get -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=$1/sources.list -o Dir::Etc::SourceParts=-
        -o Dir::State::Lists=$1/lists -o Dir::Cache=$1/cache"
    $apt update
    cd "$1/cache"
    $apt download $4
    for package in *.deb; do dpkg-deb -x "$package" "$1/root"; done
    cat >"$1/root/bin/criu" <<"END"
#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
libraries=$(dirname "$(find "$root/usr/lib" -name "libc.so.6" | head -n 1)")
exec "$(find "$root/usr" -name "ld-linux*.so.*" | head -n 1)" --library-path "$libraries" "$root/usr/sbin/criu" "$@"
END
    chmod +x "$1/root/bin/criu"
    "$1/root/bin/criu" check' fetch "$made" "$site" "$SUITE" "$PACKAGES" >"$made/log" 2>&1; then
    mkdir -p "$cache/bin"
    cp -a "$made/root" "$home"
    ln -sfn "../${home##*/}/bin/criu" "$cache/bin/criu"
else
    echo "==> peers: no criu for this kernel: $(tail -n 1 "$made/log")"
fi
exit 0
