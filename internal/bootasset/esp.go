package bootasset

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/graftlinux/graft/internal/format/fat"
	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/profile"
)

// seedSize is the size in bytes of systemd-boot's random seed.
const seedSize = 32

// espFiles are the files of an EFI system partition: systemd-boot, the UKI, and
// the keys that firmware is to enrol (Talos, pkg/imager/iso and
// internal/app/machined/pkg/runtime/v1alpha1/bootloader/sdboot).
func (b *builder) espFiles(ctx context.Context) ([]fat.File, error) {
	image, err := b.uki(ctx)
	if err != nil {
		return nil, err
	}
	loader, err := b.loader(ctx)
	if err != nil {
		return nil, err
	}
	files := []fat.File{
		{Path: "EFI/BOOT/" + b.plan.EFIName, Content: loader},
		{Path: b.plan.UKIPath, Content: image},
		{Path: "loader/loader.conf", Content: sparse.Bytes(b.loaderConf())},
	}
	if b.plan.Profile.Output.Kind == profile.ISO { // systemd-boot must not write to a CD
		files = append(files, fat.File{Path: "loader/random-seed", Content: sparse.Bytes(make([]byte, seedSize)), ReadOnly: true})
	}
	if b.keys == nil {
		return files, nil
	}
	if err := b.checkEnrolment(loader); err != nil {
		return nil, err
	}
	if c := b.keys.Program.Certificate(); c != nil {
		files = append(files, fat.File{Path: "EFI/keys/uki-signing-cert.der", Content: sparse.Bytes(c.Raw)})
	}
	for _, k := range b.keys.Enrol {
		files = append(files, fat.File{Path: "loader/keys/auto/" + k.Name, Content: sparse.Bytes(k.Data)})
	}
	return files, nil
}

// maxLoader bounds what is read of systemd-boot, in bytes: it has 150 kB.
const maxLoader = 16 << 20

// checkEnrolment warns if systemd-boot will not do what is asked of it: before
// version 253 it knows force and manual only, and takes if-safe for an error.
func (b *builder) checkEnrolment(loader *sparse.Image) error {
	if b.plan.EnrollKeys != profile.EnrollIfSafe || loader.Size() > maxLoader {
		return nil
	}
	program, err := io.ReadAll(loader.Reader())
	if err != nil {
		return fmt.Errorf("reading systemd-boot: %w", err)
	}
	if !bytes.Contains(program, []byte("if-safe\x00")) {
		b.warn("the base's systemd-boot is older than 253 and enrols no keys with if-safe: --secureboot-enroll-keys force does, also outside of virtual machines")
	}
	return nil
}

// loaderTimeout is how many seconds systemd-boot shows its menu.
const loaderTimeout = 10

func (b *builder) loaderConf() []byte {
	conf := fmt.Appendf(nil, "# Configuration of systemd-boot, written by graft.\ntimeout %d\n", loaderTimeout)
	if b.plan.EnrollKeys != profile.EnrollOff {
		conf = fmt.Appendf(conf, "secure-boot-enroll %s\n", b.plan.EnrollKeys)
	}
	return conf
}

// fatOptions are those of all FAT file systems in an asset. The serial number
// is of the label: nobody looks at it, and it must not be random.
func (b *builder) fatOptions(label string) fat.Options {
	id := sha256.Sum256([]byte(label))
	return fat.Options{Label: label, VolumeID: binary.LittleEndian.Uint32(id[:]), Time: b.epoch}
}
