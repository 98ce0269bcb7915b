package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/graftlinux/graft/internal/format/meta"
	"github.com/graftlinux/graft/internal/levenshtein"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/profile"
)

// wanted is the profile of a name, or of standard input, under the flags.
func (f *imageFlags) wanted(stdin io.Reader, name string) (profile.Profile, error) {
	p, err := namedProfile(stdin, name)
	if err != nil {
		return p, err
	}
	over, err := f.overrides(p)
	if err != nil {
		return p, inputError(err)
	}
	merged := p.Merge(over)
	if !merged.Secure() && (over.Input.SecureBoot != nil || f.enrollKeys != "") {
		return merged, withCode(exitInvalid, errors.New("keys for Secure Boot are given, and the asset is for none: nothing would be signed"),
			"the profiles whose names begin with secureboot- sign, such as secureboot-iso")
	}
	return merged, nil
}

// admission has the policy watch over all images, and over the catalogs.
func (f *imageFlags) admission() (err error) {
	registry := oci.Options{Insecure: f.sources.insecure, Client: f.sources.client}
	if f.sources.gate, err = f.policy.gate(registry, f.sources.cacheDir); err != nil {
		return err
	}
	f.names.gate, f.names.client = f.sources.gate, f.sources.client
	f.names.insecure, f.names.cacheDir = f.sources.insecure, f.sources.cacheDir
	return nil
}

// pinNames gives extensions that are named, such as gvisor, the images that the
// catalog of a Talos version has.
func (f *imageFlags) pinNames(ctx context.Context, s Streams, p *profile.Profile, talos string) error {
	var refs []string
	for _, a := range p.Input.SystemExtensions {
		refs = append(refs, a.ImageRef)
	}
	f.names.talos = talos
	pinned, err := f.names.pinned(ctx, s, refs)
	if err != nil {
		return err
	}
	p.Input.SystemExtensions = slices.Clone(p.Input.SystemExtensions)
	for i, ref := range pinned {
		p.Input.SystemExtensions[i].ImageRef = ref
	}
	return nil
}

func namedProfile(stdin io.Reader, name string) (profile.Profile, error) {
	if name == "-" {
		data, err := io.ReadAll(io.LimitReader(stdin, profile.MaxSize+1))
		if err != nil {
			return profile.Profile{}, fmt.Errorf("reading the profile: %w", err)
		}
		p, err := profile.Parse(data)
		return p, profileError(err)
	}
	if p, ok := profile.Get(name); ok {
		return p, nil
	}
	for _, k := range kindProfiles {
		if k.name == name {
			return kindProfile(name), nil
		}
	}
	hints := []string{"graft image --list prints all"}
	if near := nearest(name, profileNames()); near != "" {
		hints = slices.Insert(hints, 0, "did you mean "+near+"?")
	}
	return profile.Profile{}, withCode(exitInvalid, fmt.Errorf("there is no profile %q", name), hints...)
}

// nearest is the word that a person may have meant, "" if none is close.
func nearest(word string, words []string) string {
	best, least := "", len(word)/2+1
	for _, w := range words {
		if d := levenshtein.Distance(word, w); d < least {
			best, least = w, d
		}
	}
	return best
}

// kindProfile is the profile metal with another kind of output. For PXE it is
// the command line, which takes all that the user may change.
func kindProfile(kind string) profile.Profile {
	p, _ := profile.Get("metal")
	if kind == pxe {
		kind = string(profile.Cmdline)
	}
	return p.Merge(profile.Profile{Output: profile.Output{Kind: profile.Kind(kind)}})
}

// profileError has the exit code that a profile's problems have.
func profileError(err error) error {
	switch {
	case errors.Is(err, profile.ErrUnsupported):
		return withCode(exitUnsupported, err)
	case errors.Is(err, profile.ErrInvalid) && strings.Contains(err.Error(), ".diskSize"):
		return withCode(exitInvalid, err, "--disk-size 10GiB sets it")
	case errors.Is(err, profile.ErrInvalid):
		return withCode(exitInvalid, err)
	}
	return inputError(err)
}

// overrides are what the flags say, as a profile.
func (f *imageFlags) overrides(under profile.Profile) (profile.Profile, error) {
	p := f.Profile
	p.Version = f.talos
	if len(f.arches) > 0 {
		p.Arch = f.arches[0]
	}
	for _, e := range f.extensions {
		p.Input.SystemExtensions = append(p.Input.SystemExtensions, profile.ContainerAsset{ImageRef: e})
	}
	for _, m := range f.metaValues {
		v, err := meta.ParseValue(m)
		if err != nil {
			return p, fmt.Errorf("--meta %q: %w", m, err)
		}
		p.Customization.MetaContents = append(p.Customization.MetaContents, v)
	}
	if f.configPath != "" {
		data, err := readConfig(f.configPath)
		if err != nil {
			return p, err
		}
		p.Customization.EmbeddedMachineConfiguration = string(data)
	}
	if f.overlay.name != "" || f.overlay.image != "" || len(f.overlay.options) > 0 {
		p.Overlay = &profile.Overlay{Name: f.overlay.name, Image: profile.ContainerAsset{ImageRef: f.overlay.image}}
	}
	p.Input.SecureBoot = f.secureBoot()
	return p, f.outputOverrides(&p, under)
}

// readConfig reads a machine configuration, which becomes part of a profile.
func readConfig(name string) ([]byte, error) {
	size, err := fileSize(name)
	if err != nil {
		return nil, err
	}
	if size == 0 || size > profile.MaxSize {
		return nil, fmt.Errorf("--embedded-config-path: %s has %d bytes, wanted are 1 to %d", name, size, profile.MaxSize)
	}
	return os.ReadFile(name)
}

// secureBoot are the keys that the flags name; nil if they name none.
func (f *imageFlags) secureBoot() *profile.SecureBootAssets {
	if f.secureBootDir == "" && f.signer == "" && f.pcr == "" && !f.wellKnown {
		return nil
	}
	a := &profile.SecureBootAssets{IncludeWellKnownCerts: f.wellKnown}
	if dir := f.secureBootDir; dir != "" {
		a.SecureBootSigner = profile.Signer{KeyPath: filepath.Join(dir, "uki-signing-key.pem"), CertPath: filepath.Join(dir, "uki-signing-cert.pem")}
		a.PCRSigner = profile.Signer{KeyPath: filepath.Join(dir, "pcr-signing-key.pem")}
		for name, path := range map[string]*string{"PK.auth": &a.PlatformKeyPath, "KEK.auth": &a.KeyExchangeKeyPath, "db.auth": &a.SignatureKeyPath} {
			if file := filepath.Join(dir, name); fileThere(file) {
				*path = file
			}
		}
	}
	if f.signer != "" {
		a.SecureBootSigner = profile.Signer{SignerAddress: f.signer}
	}
	if f.pcr != "" {
		a.PCRSigner = profile.Signer{SignerAddress: f.pcr}
	}
	return a
}

func fileThere(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// outputOverrides sets the options of the kind of output that it will be.
func (f *imageFlags) outputOverrides(p *profile.Profile, under profile.Profile) error {
	kind := under.Output.Kind
	if p.Output.Kind != "" {
		kind = p.Output.Kind
	}
	p.Output.OutFormat = profile.OutFormat(f.outFormat)
	size, err := parseDiskSize(f.diskSize)
	if err != nil {
		return fmt.Errorf("--disk-size: %w", err)
	}
	switch {
	case f.diskSize == "" && f.bootloader == "" && f.enrollKeys == "":
	case kind == profile.Image:
		p.Output.ImageOptions = &profile.ImageOptions{
			DiskSize: size, ExactDiskSize: f.diskSize != "", Bootloader: profile.Bootloader(f.bootloader), SDBootEnrollKeys: profile.EnrollKeys(f.enrollKeys),
		}
	case kind == profile.ISO && f.diskSize == "":
		p.Output.ISOOptions = &profile.ISOOptions{Bootloader: profile.Bootloader(f.bootloader), SDBootEnrollKeys: profile.EnrollKeys(f.enrollKeys)}
	default:
		return fmt.Errorf("--disk-size, --bootloader and --secureboot-enroll-keys are for disk images, the last two for ISOs as well; this is of the kind %s", kind)
	}
	return nil
}
