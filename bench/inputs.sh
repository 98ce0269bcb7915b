#!/bin/bash
# inputs.sh DIR: makes the extensions that the benchmark images, as directories
# in DIR, about 280 MB: Go binaries, 60 MB of firmware, kernel modules. Needs
# bin/graft, and apt for two Debian packages, which are fetched by name and not
# installed.
set -euo pipefail

dir=$(mkdir -p "${1:?usage: inputs.sh DIR}" && cd "$1" && pwd)
top=$(cd "$(dirname "$0")/.." && pwd)

manifest() { # NAME VERSION
	printf 'version: v1alpha1\nmetadata:\n  name: %s\n  version: "%s"\n  author: bench\n  description: benchmark input\n' "$1" "$2"
}

# fetch NAME TO: downloads a Debian package from the suites this machine is set
# up with, the non-free firmware included, whatever components apt uses.
fetch() {
	local apt=$dir/apt
	[ -f "$2" ] && return
	mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/get"
	for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
		[ -s "$f" ] && sed -E 's/^(Components:| *deb .* main).*/\1 main non-free-firmware/; s/main main/main/' "$f" >"$apt/parts/$(basename "$f")"
	done
	local o=(-qq -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/parts" -o "Dir::State::lists=$apt/lists"
		-o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
	apt-get "${o[@]}" update
	(cd "$apt/get" && apt-get "${o[@]}" download "$1" >/dev/null)
	mv "$apt/get/$1"_*.deb "$2"
}

"$top/bin/graft" build --root "$top/recipes" --progress quiet gvisor nebula ctr -o "dir:$dir" >/dev/null

if [ ! -f "$dir/firmware/manifest.yaml" ]; then
	fetch firmware-atheros "$dir/firmware.deb"
	mkdir -p "$dir/firmware/rootfs/usr/lib" && dpkg-deb -x "$dir/firmware.deb" "$dir/unpacked"
	mv "$dir/unpacked/lib/firmware" "$dir/firmware/rootfs/usr/lib/" && rm -r "$dir/unpacked"
	manifest firmware 20230210 >"$dir/firmware/manifest.yaml"
fi

if [ ! -f "$dir/modules/manifest.yaml" ]; then
	deb=$("$top/base/fetch.sh" "$top/out/kernel")
	dpkg-deb -x "$deb" "$dir/unpacked"
	release=$(basename "$dir"/unpacked/lib/modules/*)
	mkdir -p "$dir/modules/rootfs/usr/lib/modules/$release"
	mv "$dir/unpacked/lib/modules/$release/kernel" "$dir/modules/rootfs/usr/lib/modules/$release/" && rm -r "$dir/unpacked"
	manifest modules "$release" >"$dir/modules/manifest.yaml"
fi

mkdir -p "$dir/hello/rootfs/usr/local/share/hello"
echo hello >"$dir/hello/rootfs/usr/local/share/hello/hello.txt"
manifest hello 1 >"$dir/hello/manifest.yaml"
du -sbc "$dir"/{gvisor,nebula,ctr,firmware,modules,hello} | tail -n 1 >&2
