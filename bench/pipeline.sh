#!/bin/bash
# pipeline.sh BASE OUT WORK DIR...: puts extensions into an initramfs with the
# programs that Talos' imager runs: mksquashfs per extension, depmod, then cpio
# and zstd over everything. The peer that graft is measured against.
set -euo pipefail
base=$1 out=$2 tmp=$3
shift 3
rm -rf "$tmp" && mkdir -p "$tmp/root" "$tmp/depmod"

squash=(-all-root -noappend -no-progress -comp zstd -Xcompression-level 18 -quiet)
i=0
for dir; do
	cp -a "$dir/rootfs" "$tmp/ext$i"
	if [ -d "$tmp/ext$i/usr/lib/modules" ]; then
		mkdir -p "$tmp/depmod/lib"
		cp -a "$tmp/ext$i/usr/lib/modules" "$tmp/depmod/lib/"
	fi
	if [ -d "$tmp/ext$i/usr/lib/firmware" ]; then
		mkdir -p "$tmp/root/usr/lib"
		mv "$tmp/ext$i/usr/lib/firmware" "$tmp/root/usr/lib/firmware"
	fi
	mksquashfs "$tmp/ext$i" "$tmp/root/$i.sqsh" "${squash[@]}"
	printf -- '- image: %d.sqsh\n' $i >>"$tmp/root/extensions.yaml"
	i=$((i + 1))
done
if [ -d "$tmp/depmod/lib" ]; then
	release=$(basename "$tmp"/depmod/lib/modules/*)
	echo 'search extras built-in' >"$tmp/depmod.conf"
	depmod --all --basedir "$tmp/depmod" --config "$tmp/depmod.conf" "$release"
	mkdir -p "$tmp/modules/usr/lib/modules/$release"
	mv "$tmp/depmod/lib/modules/$release"/modules.* "$tmp/modules/usr/lib/modules/$release/"
	mksquashfs "$tmp/modules" "$tmp/root/modules.dep.sqsh" "${squash[@]}"
fi
cp "$base" "$out"
(cd "$tmp/root" && find . -mindepth 1 | sort | cpio -o -H newc --reproducible --quiet -R 0:0 | zstd -q -T0 -18) >>"$out"
