#!/bin/sh
# The current ctr, containerd, its shim and nerdctl, as peers for tests: built from source with Go, once per version.
# Nothing here is needed to run Hakobune. Where there is no Go, or a build fails, one line says so and the tests
# that want these programs are skipped with that reason. HAKOBUNE_PEERS=no builds nothing.
#
# <cache>/hakobune-peers/<module>-<version>/ has the programs, <cache>/hakobune-peers/bin/ a link to each.
set -u

CONTAINERD=2.4.2
NERDCTL=2.2.1
SECONDS_PER_BUILD=1500

cache="${XDG_CACHE_HOME:-$HOME/.cache}/hakobune-peers"

[ "${HAKOBUNE_PEERS:-yes}" = no ] && exit 0

# build NAME MODULE VERSION PACKAGES [FILE]: `go install` refuses modules with replace directives, so a module of our own
# asks for it. FILE is a helper of the module's tests that needs a module which only its repository has: taken out of a copy.
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
            exec nice -n 10 go build -o bin/ $4' build "$made" "$2" "$wanted" "$4" "${5:-}" >"$made/log" 2>&1; then
            mv -T "$made/bin" "$home" 2>/dev/null # another run may have been faster
        else
            echo "==> peers: cannot build $wanted: $(tail -n 1 "$made/log")"
        fi
        rm -rf "$made"
    fi
    [ -d "$home" ] || return
    for program in "$home"/*; do
        ln -sfn "../${home##*/}/${program##*/}" "$cache/bin/${program##*/}"
    done
}

export CGO_ENABLED=0 GOFLAGS=-mod=mod GOTOOLCHAIN=local
containerd=github.com/containerd/containerd/v2
nerdctl=github.com/containerd/nerdctl/v2
build containerd "$containerd" "$CONTAINERD" "$containerd/cmd/ctr $containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2"
build nerdctl "$nerdctl" "$NERDCTL" "$nerdctl/cmd/nerdctl" cmd/nerdctl/helpers/testing_linux.go
exit 0
