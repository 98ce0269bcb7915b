#!/bin/bash
# build.sh: what building costs beside the work of compilers. Loads large trees of
# recipes, runs scripts that do nothing on both engines, and builds recipes/ again
# without a change. Called by `make bench`, which has built graft.
#
# bldr is compared with if $BLDR names its program: its module is not to be had
# through every Go module proxy.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

step() { printf '\n== %s\n' "$*"; }

step "Load a tree of recipes and make its graph (116 and 500 packages)"
go test -run '^$' -bench 'LoadAndGraph' -benchmem ./internal/recipe | grep -E '^Benchmark'
if [ -n "${BLDR:-}" ]; then
	for _ in 1 2 3; do
		/usr/bin/time -f "bldr graph of recipes/: %e s" "$BLDR" graph --root recipes >/dev/null
		/usr/bin/time -f "graft graph of recipes/: %e s" bin/graft graph --root recipes -o dot >/dev/null
	done
fi

step "A script that does nothing, per script (embedded engine, BuildKit)"
go test -run '^$' -bench 'Script' ./internal/build/embedded ./internal/build/buildkit | grep -E '^Benchmark'

step "Build recipes/ twice: the second time nothing has changed"
bin/graft build --root recipes --all --progress quiet >/dev/null
for _ in 1 2 3; do
	/usr/bin/time -f '%e s, %M KiB' bin/graft build --root recipes --all --progress quiet >/dev/null
done
