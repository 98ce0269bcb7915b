#!/bin/bash
# run.sh: the main job from end to end. Three real extensions (gVisor, a small
# service, a kernel module) are built from their recipes, checked, put into the
# initramfs of the reference base, and booted in QEMU; the running node lists them.
# Called by `make demo`, which has built graft and the base.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
graft=$top/bin/graft
out=$top/out/demo
mkdir -p "$out"

step() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }
run() {
	printf '$ %s\n' "$*" | sed "s|$top/||g" >&2
	"$@"
}

names=(gvisor hello-world-service btrfs)
step "Build the extensions from recipes/ (compilers and sources are fetched: some minutes the first time)"
run "$graft" build --root "$top/recipes" "${names[@]}" -o "oci:$out/images"
images=("${names[@]/#/$out/images/}")

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
