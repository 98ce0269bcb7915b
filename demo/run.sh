#!/bin/bash
# run.sh: the main job from end to end. Three real extensions (gVisor, a small
# service, a kernel module) are built, packed, checked, put into the initramfs of
# the reference base, and booted in QEMU; the running node lists them.
# Called by `make demo`, which has built graft and the base.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
graft=$top/bin/graft
out=$top/out/demo
export CGO_ENABLED=0
mkdir -p "$out"

step() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
run() {
	printf '$ %s\n' "$*" | sed "s|$top/||g" >&2
	"$@"
}

# extension NAME: starts the directory of an extension from its recipe.
extension() {
	mkdir -p "$out/$1"
	cp "$top/recipes/$1/manifest.yaml" "$out/$1/"
	[ ! -d "$top/recipes/$1/rootfs" ] || cp -R "$top/recipes/$1/rootfs" "$out/$1/"
}

step "Build the extensions (gVisor's sources come through the Go module proxy: some minutes the first time)"
extension gvisor
mkdir -p "$out/gvisor/rootfs/usr/local/bin"
(cd "$top/recipes/gvisor" && go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/gvisor/rootfs/usr/local/bin/runsc" gvisor.dev/gvisor/runsc &&
	go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/gvisor/rootfs/usr/local/bin/containerd-shim-runsc-v1" gvisor.dev/gvisor/shim)
extension hello-world
(cd "$top" && go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/hello-world/rootfs/usr/local/lib/containers/hello-world/hello-world" ./recipes/hello-world)
extension btrfs
[ -d "$out/btrfs/rootfs" ] || (cd "$top" && go run ./base/modules -deb "$(base/fetch.sh out/kernel)" -o "$out/btrfs/rootfs" btrfs)

step "Pack them as container images"
for name in gvisor hello-world btrfs; do
	run "$graft" pack "$out/$name" -o "oci:$out/images/$name" >/dev/null
done
images=("$out/images/gvisor" "$out/images/hello-world" "$out/images/btrfs")

step "Check them"
run "$graft" validate --base "$top/out/base" "${images[@]}"

step "Put them into the initramfs of the base"
run "$graft" image initramfs --base "$top/out/base" --extension "${images[0]}" --extension "${images[1]}" --extension "${images[2]}" \
	-o "$out/initramfs.xz" >/dev/null
run "$graft" inspect "$out/initramfs.xz"

step "Boot it (emulated; the console is in out/demo/console.log)"
echo '$ bin/graft boot out/demo/initramfs.xz --base out/base --append modules_load=btrfs' >&2
"$graft" boot "$out/initramfs.xz" --base "$top/out/base" --append modules_load=btrfs --timeout 3m >"$out/console.log" 2>&1 &
boot=$!
trap 'kill $boot 2>/dev/null || true' EXIT
for _ in $(seq 120); do
	kill -0 $boot 2>/dev/null || { tail -n 40 "$out/console.log" >&2; exit 1; }
	# A free port was chosen, and is in what graft boot said.
	node=$(grep -ao '127\.0\.0\.1:[0-9]* is port 50000' "$out/console.log" | head -n 1 | cut -d ' ' -f 1) || true
	! "$graft" get extensions --insecure -n "${node:-127.0.0.1:1}" >/dev/null 2>&1 || break
	sleep 0.5
done
grep -ao 'graft-init: .*' "$out/console.log" >&2 || true

step "Ask the node what it runs"
run "$graft" get extensions --insecure -n "$node"

step "Power off"
kill $boot
wait $boot 2>/dev/null || true
trap - EXIT
