#!/bin/sh
# The current ctr, containerd, its shim, nerdctl and the validation programs of OCI's runtime-tools, as peers for tests:
# built from source with Go, once per version.
# Nothing here is needed to run Hakobune. Where there is no Go, or a build fails, one line says so and the tests
# that want these programs are skipped with that reason. HAKOBUNE_PEERS=no builds nothing.
#
# <cache>/hakobune-peers/<module>-<version>/ has the programs, <cache>/hakobune-peers/bin/ a link to each. Those of
# runtime-tools have names like `kill` and `start`: <cache>/hakobune-peers/runtime-tools is a link to their directory.
set -u

CONTAINERD=2.4.2
NERDCTL=2.2.1
RUNTIME_TOOLS=0.9.1-0.20250303011046-260e151b8552 # no release since 2019; this one is what podman is tested with
SECONDS_PER_BUILD=1500

cache="${XDG_CACHE_HOME:-$HOME/.cache}/hakobune-peers"

[ "${HAKOBUNE_PEERS:-yes}" = no ] && exit 0

# build NAME MODULE VERSION PACKAGES [FILE [DATA]]: `go install` refuses modules with replace directives, so a module of our own
# asks for it. FILE is a helper of the module's tests that needs a module which only its repository has: taken out of a copy.
# DATA are files of the module (a pattern) that the programs look for beside themselves.
build() {
    home="$cache/$1-$3" wanted="$2@v$3"
    if [ ! -d "$home" ]; then
        command -v go >/dev/null || { echo "==> peers: no Go here: not building $wanted"; return; }
        echo "==> peers: building $wanted (some minutes, once)"
        mkdir -p "$cache/bin"
        made=$(mktemp -d "$cache/.build-XXXXXX") || return
        if timeout "$SECONDS_PER_BUILD" sh -ec '
            cd "$1"
            mkdir bin
            printf "module peers\n\ngo 1.24\n" >go.mod
            go get "$3"
            if [ -n "$5" ]; then
                cp -r "$(go list -m -f "{{.Dir}}" "$2")" source
                chmod -R u+w source
                rm "source/$5"
                go mod edit -replace "$2=./source"
            fi
            [ -z "$6" ] || cp "$(go list -m -f "{{.Dir}}" "$2")"/$6 bin/
            exec nice -n 10 go build -o bin/ $4' build "$made" "$2" "$wanted" "$4" "${5:-}" "${6:-}" >"$made/log" 2>&1; then
            mv -T "$made/bin" "$home" 2>/dev/null # another run may have been faster
        else
            echo "==> peers: cannot build $wanted: $(tail -n 1 "$made/log")"
        fi
        rm -rf "$made"
    fi
}

# link NAME VERSION: its programs into bin/.
link() {
    for program in "$cache/$1-$2"/*; do
        [ ! -e "$program" ] || ln -sfn "../$1-$2/${program##*/}" "$cache/bin/${program##*/}"
    done
}

export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local
containerd=github.com/containerd/containerd/v2
nerdctl=github.com/containerd/nerdctl/v2
tools=github.com/opencontainers/runtime-tools
build containerd "$containerd" "$CONTAINERD" "$containerd/cmd/ctr $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2"
link containerd "$CONTAINERD"
build nerdctl "$nerdctl" "$NERDCTL" "$nerdctl/cmd/nerdctl" cmd/nerdctl/helpers/testing_linux.go
link nerdctl "$NERDCTL"
build runtime-tools "$tools" "$RUNTIME_TOOLS" "$tools/cmd/runtimetest $tools/validation/..." "" "rootfs-*.tar.gz"
[ ! -d "$cache/runtime-tools-$RUNTIME_TOOLS" ] || ln -sfn "runtime-tools-$RUNTIME_TOOLS" "$cache/runtime-tools"
exit 0
