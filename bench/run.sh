#!/bin/bash
# run.sh: images the same extensions with graft and with the programs that
# Talos' imager runs, side by side, and prints time, memory and size of both.
# Machines differ and are noisy: the ratios count.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
out=$top/out/bench
in=$out/inputs
graft=$top/bin/graft
mkdir -p "$out"
"$top/bench/inputs.sh" "$in"
"$graft" image initramfs --base "$top/out/base" --cache-dir "$out/cache-base" -o "$out/base.initramfs" >/dev/null 2>&1

names=(gvisor nebula ctr firmware modules hello)
dirs=("${names[@]/#/$in/}")
extensions=()
for d in "${dirs[@]}"; do extensions+=(--extension "$d"); done

results=$out/results.txt
: >"$results"

# measure NAME FILE COMMAND...: wall and CPU seconds, peak memory, size of FILE.
measure() {
	local name=$1 file=$2
	shift 2
	echo "running: $name" >&2
	/usr/bin/time -o "$out/time" -f '%e %U %S %M' "$@" >/dev/null 2>"$out/log" || { cat "$out/log" >&2; exit 1; }
	echo "$name|$(cat "$out/time")|$(stat -c %s "$file")" >>"$results"
}

find "${dirs[@]}" -type f -exec cat {} + >/dev/null

measure pipeline "$out/pipeline.xz" "$top/bench/pipeline.sh" "$out/base.initramfs" "$out/pipeline.xz" "$out/work" "${dirs[@]}"
rm -rf "$out/work"

run_image() { # NAME CACHE FLAG...
	measure "$1" "$out/graft.xz" "$graft" image initramfs --initramfs "$out/base.initramfs" --talos-version v1.14.0 \
		--cache-dir "$2" -o "$out/graft.xz" "${extensions[@]}" "${@:3}"
}
rm -rf "$out/cache" "$out/cache-best"
run_image 'graft, cold' "$out/cache"
for _ in 1 2 3; do run_image 'graft, warm' "$out/cache"; done
rm -rf "$out/nebula" && cp -a "$in/nebula" "$out/nebula"
echo changed >>"$out/nebula/rootfs/usr/local/bin/nebula-cert"
extensions[3]=$out/nebula
run_image 'graft, nebula changed' "$out/cache"
extensions[3]=$in/nebula
run_image 'graft, best, cold' "$out/cache-best" --compression best
measure 'cp of the output' "$out/copy" cp "$out/graft.xz" "$out/copy"
rm -f "$out/copy"

awk -F'|' '
	NR == 1 { split($2, p, " "); pw = p[1]; pc = p[2] + p[3]; ps = $3
		printf "%-24s %9s %9s %9s %12s %9s %9s %8s\n", "", "wall s", "CPU s", "peak MiB", "bytes", "wall", "CPU", "size" }
	{ split($2, t, " "); c = t[2] + t[3]
	  printf "%-24s %9.2f %9.2f %9.0f %12d %9s %9s %7.3f\n", $1, t[1], c, t[4] / 1024, $3,
		"1/" (t[1] > 0 ? sprintf("%.1f", pw / t[1]) : "inf"), "1/" (c > 0 ? sprintf("%.1f", pc / c) : "inf"), $3 / ps }' "$results"
