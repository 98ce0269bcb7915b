// Package boot is what graft-init does as the first process of an initramfs:
// it puts the layers of a boot asset over the base's root filesystem and hands
// the machine to the init that is in there.
//
// It takes no decision that a test on a laptop has not seen: [Prepare] and
// [Plan] are pure functions from what is there to a list of steps, and Run,
// which exists for Linux only, carries the steps out.
//
// # What the initramfs has
//
//	/init                   graft-init
//	/rootfs.sqsh            the base's root filesystem
//	/lib/init-modules/*.ko  kernel modules to load, in the order of their names,
//	                        not compressed; what is built into the kernel needs none
//	/extensions.yaml        the layers, the lowest first; without it the root
//	                        filesystem is the base's alone
//	/*.sqsh                 the images that extensions.yaml names
//	/lib/firmware, /usr/lib/firmware
//	                        firmware of extensions (the second since Talos 1.10)
//	/.extra                 what systemd-stub adds to a unified kernel image
//
// Only the first three come from the base. The rest is what graft and Talos'
// own imager make; graft-init boots either.
//
// # What the root filesystem has
//
// Since it is read-only, it must bring the directories /dev, /proc and /sys,
// which are moved there from the initramfs with devtmpfs, proc and sysfs in
// them, and the program /sbin/init. If there is firmware, it must have that
// directory, too. Over an empty file /etc/extensions.yaml and a directory
// /.extra those of the initramfs are bound, if they are there. All other file
// systems (/run, /tmp, cgroups and so on) are for its init to mount.
//
// # How layers become a root
//
// Each image is mounted through a loop device at /layers/layer<i>, the base's
// at /layers/root, and a read-only overlay of all of them is mounted at /root:
// the layer that is listed last is on top. The overlay keeps what it needs, so
// the mounts below /layers are detached then, and the loop devices go when the
// last user does. An overlay of one directory is refused by the kernel: without
// layers /rootfs.sqsh itself is mounted at /root.
//
// Linux 6.7 takes the directories of an overlay one at a time ("lowerdir+"),
// 500 at most. Before that they are one string that must fit in a page, which
// is enough for about 460. If there are more, groups of them are made overlays
// and those put over each other. The kernel allows overlays to be stacked two
// high, so that nobody can use that root as the lower directory of another
// overlay; a node with so many extensions has to do without that.
//
// A layer with a digest is verified before anything is mounted. One that
// differs stops the boot: to go on without it would be another system than the
// one that was asked for.
//
// # What stays of the initramfs
//
// The memory of an initramfs is freed by deleting its files, since it cannot be
// unmounted. But a bind mount is another way to the same directory and not a
// copy, and deleting would empty it. So what is bound is left: extensions.yaml,
// firmware and /.extra. The images are deleted; their content stays as long as
// their loop devices have them open. Firmware thus needs no copy, and the memory
// for it is taken once.
//
// # Limits
//
// Linux 5.12 or newer, for read-only bind mounts in one piece; the first Talos
// with extensions had 5.15. No verity and no TPM: where the initramfs is signed
// (Secure Boot with a unified kernel image), the digests in extensions.yaml are,
// too; otherwise they find damage, not malice.
package boot
