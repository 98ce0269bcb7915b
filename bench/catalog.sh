#!/bin/bash
# catalog.sh: a release of 100 extensions for two platforms, 1 MiB each: what it
# takes to publish it, to find one in it, and to carry it away, beside what
# people use today: crane, tar and grep, cp. Called by `make bench`,
# which has built graft.
#
# Each is run a few times and the fastest counts, with the median beside it.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
out=$top/out/bench/catalog
graft=$top/bin/graft
runs=${RUNS:-11}
talos=v1.14.0
rm -rf "$out" && mkdir -p "$out/tree" "$out/auth"
export XDG_CACHE_HOME=$out/cache XDG_RUNTIME_DIR=$out/auth

pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

# times WHAT COMMAND...: wall seconds, fastest and median, CPU seconds and peak
# MiB of the fastest run. $out/made and made.tar are removed before each.
times() {
	local what=$1 begin
	shift
	for _ in $(seq "$runs"); do
		rm -rf "$out/made" "$out/made.tar"
		begin=$EPOCHREALTIME
		/usr/bin/time -o "$out/time" -f '%U %S %M' "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
		printf '%.3f %s\n' "$(awk "BEGIN { print $EPOCHREALTIME - $begin }")" "$(cat "$out/time")"
	done | sort -n | awk -v what="$what" '{ line[NR] = $0 } END {
		split(line[1], a, " "); split(line[int((NR + 1) / 2)], m, " ")
		printf "%-52s %7.3f s (median %.3f) %7.2f s CPU %5.0f MiB\n", what, a[1], m[1], a[2] + a[3], a[4] / 1024 }'
}

go build -C "$top" -trimpath -o "$out/crane" github.com/google/go-containerregistry/cmd/crane

printf 'format: v1alpha2\n' >"$out/tree/Pkgfile"
for i in $(seq -w 100); do
	dir=$out/tree/net/ext$i
	mkdir -p "$dir/files/usr/local/lib/ext$i"
	printf 'name: ext%s\nvariant: scratch\nfinalize: [{from: /pkg/files, to: /rootfs}, {from: /pkg/manifest.yaml, to: /manifest.yaml}]\n' "$i" >"$dir/pkg.yaml"
	printf 'version: v1alpha1\nmetadata:\n  name: ext%s\n  version: 1.0.%d\n  author: bench\n  description: number %s\n' "$i" "$((10#$i))" "$i" >"$dir/manifest.yaml"
	head -c 1048576 /dev/urandom >"$dir/files/usr/local/lib/ext$i/data"
done
"$graft" registry serve "$out/store" --listen 127.0.0.1:0 >"$out/address" 2>"$out/registry.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$out/address" ] && break; sleep 0.1; done
registry=$(sed 's|.*://||' "$out/address")
catalog=$registry/ext/extensions:$talos
publish=("$graft" publish --root "$out/tree" --registry "$registry/ext" --tag $talos --platform linux/amd64,linux/arm64 --progress quiet)

printf '== publish 100 extensions for 2 platforms\n'
# Alone: what is there is not published again.
once() { local runs=1; times "$@"; }
once "from nothing" "${publish[@]}"
times "again" "${publish[@]}"

printf '\n== find one\n'
once "graft catalog find, the first time" "$graft" catalog find ext042 --catalog "$catalog"
times "graft catalog find" "$graft" catalog find ext042 --catalog "$catalog"
times "crane export | tar x -O image-digests | grep" bash -euo pipefail -c "'$out/crane' export $catalog - | tar x -O image-digests | grep ext042:"

printf '\n== carry all of it away\n'
times "graft catalog mirror to an OCI layout" "$graft" catalog mirror "$catalog" "$out/made"
"$graft" catalog mirror "$catalog" "$out/layout" >/dev/null 2>&1
times "graft catalog mirror to one file" "$graft" catalog mirror "$catalog" "$out/made.tar"
times "cp -r of that layout" cp -r "$out/layout" "$out/made"
# shellcheck disable=SC2046 # names of images have no spaces
times "crane pull --format oci, of the images alone" "$out/crane" pull --format oci $("$out/crane" export "$catalog" - | tar x -O image-digests) "$out/made"
