#!/bin/bash
# assets.sh: makes boot assets with graft, copies them with cp, and makes them
# with the programs that Talos' imager runs, side by side. All start from the
# same initramfs, whose layers are in the cache. Called by `make bench`, which
# has built graft and the base, after run.sh, whose inputs it uses.
#
# Each is run a few times and the fastest counts: machines are noisy, and the
# ratios matter.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
out=$top/out/bench/assets
in=$top/out/bench/inputs
graft=$top/bin/graft
runs=${RUNS:-5}
rm -rf "$out" && mkdir -p "$out"
"$top/bench/inputs.sh" "$in"

flags=(--base "$top/out/base" --cache-dir "$out/cache")
for name in gvisor nebula ctr firmware modules hello; do
	"$graft" pack "$in/$name" -o "oci:$out/extensions/$name" >/dev/null 2>&1 # a directory would be gone through file by file
	flags+=(--extension "$out/extensions/$name")
done
for kind in initramfs kernel cmdline uki; do "$graft" image $kind "${flags[@]}" -o "$out/$kind" >/dev/null 2>&1; done
"$graft" image metal --output-format raw "${flags[@]}" -o "$out/metal" >/dev/null 2>&1 # GRUB's core is in the cache now
stub=$(dpkg -L systemd-boot-efi | grep 'linuxx64.efi.stub$')
loader=$(dpkg -L systemd-boot-efi | grep 'systemd-bootx64.efi$')

# fastest FILE COMMAND...: wall and CPU seconds and peak MiB of the fastest run,
# and the size of FILE.
fastest() {
	local file=$1 begin
	shift
	for _ in $(seq "$runs"); do
		rm -rf "$file" "$out/work" && mkdir "$out/work"
		begin=$EPOCHREALTIME # /usr/bin/time counts in hundredths
		/usr/bin/time -o "$out/time" -f '%U %S %M' "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
		printf '%.3f %s\n' "$(awk "BEGIN { print $EPOCHREALTIME - $begin }")" "$(cat "$out/time")"
	done | sort -n | head -n 1 | tr '\n' ' '
	stat -c %s "$file"
}

# compare WHAT OURS THEIRS: ratios of wall and CPU time and of size.
compare() {
	printf '%s|%s|%s\n' "$1" "$2" "$3" | awk -F'|' '{
		split($2, a, " "); split($3, b, " ")
		printf "%-44s %7.3f s %7.2f s CPU %5.0f MiB %12s B | %7.3f s %7.2f s CPU %12s B | time %.2f size %.3f\n", $1,
			a[1], a[2] + a[3], a[4] / 1024, a[5], b[1], b[2] + b[3], b[5], a[1] / b[1], a[5] / b[5] }'
}

sleep 4 # what is older was verified, and need not be again
printf '== graft | cp of the same file\n'
for asset in uki iso metal; do
	ours=$(fastest "$out/$asset" "$graft" image $asset --output-format raw "${flags[@]}" -o "$out/$asset")
	compare "$asset" "$ours" "$(fastest "$out/copy" cp "$out/$asset" "$out/copy")"
done
ours=$(fastest "$out/big" "$graft" image metal --disk-size 8GiB --output-format raw "${flags[@]}" -o "$out/big")
compare "metal, a disk of 8 GiB" "$ours" "$(fastest "$out/copy" cp "$out/big" "$out/copy")"
rm -f "$out/copy" "$out/big"

# The same by the programs. objcopy makes the UKI as ukify does.
make_uki() { # TO
	local at size address
	read -r _ _ size address _ < <(objdump -h "$stub" | awk 'NF == 7' | tail -n 1)
	at=$((16#$size + 16#$address))
	local args=()
	printf 'NAME="Talos"\nID=talos\nVERSION_ID=v1.14.0\nPRETTY_NAME="Talos (v1.14.0)"\n' >"$out/work/osrel"
	for s in "osrel $out/work/osrel" "cmdline $out/cmdline" "linux $out/kernel" "initrd $out/initramfs"; do
		at=$(((at + 4095) / 4096 * 4096))
		args+=(--add-section ".${s%% *}=${s#* }" --change-section-vma ".${s%% *}=$at")
		at=$((at + $(stat -c %s "${s#* }")))
	done
	objcopy "${args[@]}" "$stub" "$1"
}
make_esp() { # TO MIB
	make_uki "$out/work/uki.efi"
	printf 'timeout 10\n' >"$out/work/loader.conf"
	truncate -s "$2M" "$1"
	mkfs.vfat -n EFI "$1"
	mmd -i "$1" ::EFI ::EFI/BOOT ::EFI/Linux ::loader
	mcopy -i "$1" "$loader" ::EFI/BOOT/BOOTX64.EFI
	mcopy -i "$1" "$out/work/uki.efi" ::EFI/Linux/Talos-v1.14.0.efi
	mcopy -i "$1" "$out/work/loader.conf" ::loader/
}
iso_by_programs() {
	make_esp "$out/work/esp" $(($(stat -c %s "$out/uki") / 1048576 + 8))
	mkdir -p "$out/work/iso/boot/grub"
	cp "$out/kernel" "$out/work/iso/boot/vmlinuz"
	cp "$out/initramfs" "$out/work/iso/boot/initramfs.xz"
	echo 'linux /boot/vmlinuz' >"$out/work/iso/boot/grub/grub.cfg"
	grub-mkimage -O i386-pc-eltorito -p /boot/grub -o "$out/work/iso/boot/grub/core.img" biosdisk iso9660 normal linux all_video part_msdos part_gpt search configfile serial
	xorrisofs -o "$out/iso.peer" -V TALOS -R -b boot/grub/core.img -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info \
		--grub2-mbr /usr/lib/grub/i386-pc/boot_hybrid.img -append_partition 2 0xef "$out/work/esp" -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot "$out/work/iso"
}
disk_by_programs() {
	local disk=$out/work/disk
	truncate -s "$(stat -c %s "$out/metal")" "$disk"
	sgdisk -n 1:0:+2101M -t 1:ef00 -n 2:0:+1M -t 2:ef02 -n 3:0:+2000M -t 3:8300 -n 4:0:+1M -t 4:8300 "$disk"
	make_esp "$out/work/esp" 2101
	printf '/\n0 0\nd--755 0 0\nA d--755 0 0\nvmlinuz ---644 0 0 %s\ninitramfs.xz ---644 0 0 %s\n$\n$\n' "$out/kernel" "$out/initramfs" >"$out/work/proto"
	truncate -s 2000M "$out/work/boot"
	mkfs.xfs -q -p "$out/work/proto" "$out/work/boot"
	grub-mkimage -O i386-pc -p '(,gpt3)/grub' -o "$out/work/core" biosdisk part_gpt xfs normal linux all_video search configfile serial
	dd if="$out/work/esp" of="$disk" bs=1M seek=1 conv=notrunc,sparse
	dd if="$out/work/core" of="$disk" bs=1M seek=2102 conv=notrunc
	dd if="$out/work/boot" of="$disk" bs=1M seek=2103 conv=notrunc,sparse
}
metal_by_programs() {
	disk_by_programs
	zstd -q -T0 -18 "$out/work/disk" -o "$out/metal.peer"
}
qcow2_by_programs() {
	disk_by_programs
	qemu-img convert -O qcow2 "$out/work/disk" "$out/qcow2.peer"
}
export -f make_uki make_esp iso_by_programs disk_by_programs metal_by_programs qcow2_by_programs
export out stub loader

printf '\n== graft | the same by objcopy, mkfs.vfat, mcopy, grub-mkimage, xorriso, sgdisk, mkfs.xfs, qemu-img, zstd\n'
iso=$(fastest "$out/iso" "$graft" image iso "${flags[@]}" -o "$out/iso")
compare "iso" "$iso" "$(fastest "$out/iso.peer" bash -euc iso_by_programs)"
qcow2=$(fastest "$out/qcow2" bash -c "$graft"' image - "$@" <<<"{baseProfileName: metal, output: {kind: image, outFormat: raw, imageOptions: {diskFormat: qcow2}}}"' - "${flags[@]}" -o "$out/qcow2")
compare "metal as qcow2" "$qcow2" "$(fastest "$out/qcow2.peer" bash -euc qcow2_by_programs)"
runs=1
metal=$(fastest "$out/metal.zst" "$graft" image metal "${flags[@]}" -o "$out/metal.zst")
compare "metal (raw.zst)" "$metal" "$(fastest "$out/metal.peer" bash -euc metal_by_programs)"

printf '\n== graft packing the disk image | zstd -T0 -18, xz -0 -T0, pigz -6 of the raw disk\n'
compare ".zst" "$metal" "$(fastest "$out/peer" zstd -q -T0 -18 "$out/metal" -o "$out/peer")"
best=$(fastest "$out/metal.zst" "$graft" image metal --compression best "${flags[@]}" -o "$out/metal.zst")
compare ".zst, --compression best" "$best" "$(fastest "$out/peer" zstd -q -T0 -18 "$out/metal" -o "$out/peer")"
compare ".xz" "$(fastest "$out/metal.xz" "$graft" image metal --output-format .xz "${flags[@]}" -o "$out/metal.xz")" \
	"$(fastest "$out/peer" bash -c "xz -0 -T0 -c $out/metal >$out/peer")"
compare ".gz" "$(fastest "$out/metal.gz" "$graft" image metal --output-format .gz "${flags[@]}" -o "$out/metal.gz")" \
	"$(fastest "$out/peer" bash -c "pigz -6 -c --no-time $out/metal >$out/peer")"
