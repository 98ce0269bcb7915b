package extension

import "path"

// VersionLabel is the label of a base's image that has the Talos version.
const VersionLabel = "alpha.talos.dev/version"

// KernelPath is where the kernel is in a base's image, which has the layout of
// Talos' imager image (Talos, pkg/machinery/constants).
func KernelPath(arch string) string { return path.Join("usr/install", arch, "vmlinuz") }

// InitramfsPath is where the initramfs is in a base's image; its name says xz
// whatever its compression.
func InitramfsPath(arch string) string { return path.Join("usr/install", arch, "initramfs.xz") }

// StubPath is where systemd-stub is in a base's image: the program that a
// unified kernel image begins with.
func StubPath(arch string) string { return path.Join("usr/install", arch, "systemd-stub.efi") }

// BootLoaderPath is where systemd-boot is in a base's image.
func BootLoaderPath(arch string) string { return path.Join("usr/install", arch, "systemd-boot.efi") }
