package ova

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"fmt"
	"strings"
	"sync"
	"text/template"
)

// Machine describes a virtual machine with one SCSI disk and one network
// adapter (vmxnet3). The zero value is a machine for Linux on x86-64 that boots
// by EFI.
type Machine struct {
	// Name of the machine and of the files in the archive, by default "disk".
	// It is of ASCII letters, digits and "._-".
	Name string

	CPUs      int // by default 2
	MemoryMiB int // by default 2048

	// Hardware is the version of VMware's virtual hardware, by default 15
	// (vmx-15: ESXi 6.7 U2 and later).
	Hardware int

	// Firmware is "efi" (the default) or "bios".
	Firmware string

	// SecureBoot has the firmware check signatures.
	SecureBoot bool

	// GuestOS is VMware's name of the guest operating system, by default
	// otherLinux64Guest. For arm64 it is arm-other-64.
	GuestOS string

	// Network is the name of the network that the adapter is in before the one
	// who imports the machine chooses, by default "VM Network".
	Network string

	// Product is what the machine is, for people.
	Product Product

	// Properties are what the one who imports the machine can set. The guest
	// reads them by guestinfo.ovfEnv.
	Properties []Property
}

// Product says what runs in a machine.
type Product struct{ Name, Vendor, Version string }

// Property is a text that is passed to the guest.
type Property struct{ Key, Label, Description string }

func (m Machine) withDefaults() Machine {
	m.Name = orDefault(m.Name, "disk")
	m.CPUs = orDefault(m.CPUs, 2)
	m.MemoryMiB = orDefault(m.MemoryMiB, 2048)
	m.Hardware = orDefault(m.Hardware, 15)
	m.Firmware = orDefault(m.Firmware, "efi")
	m.GuestOS = orDefault(m.GuestOS, "otherLinux64Guest")
	m.Network = orDefault(m.Network, "VM Network")
	m.Product.Name = orDefault(m.Product.Name, m.Name)
	return m
}

// orDefault is a value, or another if that is zero.
func orDefault[T comparable](v, other T) T {
	var zero T
	if v == zero {
		return other
	}
	return v
}

func (m Machine) check() error {
	strange := func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r)
	}
	switch {
	case strings.ContainsFunc(m.Name, strange) || len(m.Name) > 80:
		return fmt.Errorf("machine name %q: want at most 80 ASCII letters, digits and ._-", m.Name)
	case m.CPUs < 1 || m.MemoryMiB < 1 || m.Hardware < 1:
		return fmt.Errorf("%d CPUs, %d MiB of memory, hardware version %d: want positive numbers", m.CPUs, m.MemoryMiB, m.Hardware)
	case m.Firmware != "efi" && m.Firmware != "bios":
		return fmt.Errorf("firmware %q, want efi or bios", m.Firmware)
	case m.SecureBoot && m.Firmware != "efi":
		return fmt.Errorf("firmware %s, want efi for Secure Boot", m.Firmware)
	}
	return nil
}

//go:embed machine.ovf.tmpl
var ovfText string

// ovf is parsed when it is first used: few who start graft make an OVA.
var ovf = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("ovf").Funcs(template.FuncMap{"xml": escape}).Parse(ovfText))
})

// escape makes a text fit for XML, between tags and in attributes.
func escape(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// describe is the OVF descriptor of a machine with a disk.
func (m Machine) describe(d *disk) ([]byte, error) {
	var b bytes.Buffer
	err := ovf().Execute(&b, struct {
		Machine
		Disk *disk
	}{m, d})
	return b.Bytes(), err
}
