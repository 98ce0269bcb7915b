#!/bin/bash
# release.sh [RECIPE...]: a release from end to end. The recipes are published,
# signed, into a registry on a directory, with the catalog that lists them. Then
# another machine, which has the name of the catalog and the public key and
# nothing else, finds an extension, verifies it, images and boots it.
# Called by `make release`, which has built graft and the base.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
graft=$top/bin/graft
out=$top/out/release
talos=v1.14.0
rm -rf "$out"
mkdir -p "$out/publisher" "$out/consumer"
export COSIGN_PASSWORD=demo

step() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
run() {
	printf '$ %s\n' "$*" | sed "s|$top/||g" >&2
	"$@"
}
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT

step "A registry on a directory, and a key"
"$graft" registry serve "$out/store" --listen 127.0.0.1:0 >"$out/address" 2>"$out/registry.log" &
pids+=($!)
for _ in $(seq 100); do [ -s "$out/address" ] && break; sleep 0.1; done
registry=$(sed 's|.*://||' "$out/address")
run "$graft" keys generate signing -o "$out/publisher" >/dev/null

step "Publish"
run "$graft" publish "$@" --root "$top/recipes" --registry "$registry/ext" --tag $talos --platform "${PLATFORM:-linux/amd64}" \
	--key "$out/publisher/cosign.key" --progress plain >"$out/published"
tail -n 1 "$out/published" >&2

step "Another machine: a new cache, the public key, and a policy that wants it"
cp "$out/publisher/cosign.pub" "$out/consumer/"
cd "$out/consumer"
export XDG_CACHE_HOME=$PWD/cache HOME=$PWD GRAFT_CATALOG=$registry/ext/extensions
{
	printf 'apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules:\n'
	printf '  - image: "%s/*"\n    publicKey:\n      certificate: |\n' "$registry"
	sed 's/^/        /' cosign.pub
	printf '  - image: "oci:*"               # the base is on this machine\n    skip: true\n'
} >policy.yaml
run "$graft" catalog list --talos $talos
run "$graft" catalog find hello-world-service --talos $talos
run "$graft" verify --policy policy.yaml "$("$graft" catalog find hello-world-service --talos $talos)"
run "$graft" image iso --base "$top/out/base" --talos-version $talos --extension hello-world-service --extension btrfs \
	--policy policy.yaml --extra-kernel-arg=console=ttyS0 -o metal.iso
run "$graft" sbom metal.iso -o spdx-json --file metal.spdx.json

step "Boot it (emulated; the console is in out/release/console.log)"
"$graft" boot metal.iso --firmware bios --timeout 5m >"$out/console.log" 2>&1 &
pids+=($!)
for _ in $(seq 400); do
	kill -0 "${pids[1]}" 2>/dev/null || { tail -n 40 "$out/console.log" >&2; exit 1; }
	node=$(grep -ao '127\.0\.0\.1:[0-9]* is port 50000' "$out/console.log" | head -n 1 | cut -d ' ' -f 1) || true
	! "$graft" get extensions --insecure -n "${node:-127.0.0.1:1}" >/dev/null 2>&1 || break
	sleep 0.5
done
run "$graft" get extensions --insecure -n "$node" | tee "$out/extensions"
grep -q hello-world-service "$out/extensions" && grep -q btrfs "$out/extensions"
