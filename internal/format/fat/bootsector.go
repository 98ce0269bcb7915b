package fat

import (
	"encoding/binary"
	"fmt"
)

// bootSector begins a file system of any kind (fatgen103, BPB). It is followed
// by what only FAT32 has, if it is that, and by a bootSectorEnd.
type bootSector struct {
	Jump           [3]byte
	System         [8]byte
	SectorSize     uint16
	ClusterSectors uint8
	Reserved       uint16
	FATs           uint8
	RootSlots      uint16
	Sectors16      uint16 // 0 if Sectors32 has it
	Media          uint8
	FATSize16      uint16 // 0 for FAT32
	TrackSectors   uint16
	Heads          uint16
	Hidden         uint32
	Sectors32      uint32
}

// bootSector32 is what FAT32 has behind a bootSector.
type bootSector32 struct {
	FATSize     uint32
	Flags       uint16 // bit 7: only the FAT whose number is in bits 0 to 3 is in use
	Version     uint16
	RootCluster uint32
	InfoSector  uint16
	Backup      uint16 // sector of the second boot sector
	_           [12]byte
}

// bootSectorEnd names the file system.
type bootSectorEnd struct {
	Drive     uint8
	_         uint8
	Signature uint8 // 0x29: the rest is there
	VolumeID  uint32
	Label     shortName
	Kind      [8]byte
}

const (
	mediaFixed     = 0xf8
	extendedBoot   = 0x29
	infoSector     = 1
	backupSector   = 6
	rootCluster32  = 2
	unknownCluster = 0xffffffff
)

// notBootable is a boot program for x86 that leaves booting to the next
// device: int 0x18, and should that return, hlt for ever.
var notBootable = []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd}

// encodeBootSector returns the first sector.
func (g *geometry) encodeBootSector(o Options, label shortName) []byte {
	s := bootSector{
		// The name that fatgen103 advises: some look for it.
		System:     [8]byte([]byte("MSWIN4.1")),
		SectorSize: uint16(g.sector), ClusterSectors: uint8(g.cluster / g.sector),
		Reserved: uint16(g.reserved), FATs: uint8(g.fats), RootSlots: uint16(g.rootSlots),
		Media: mediaFixed, TrackSectors: 63, Heads: 255, Hidden: o.HiddenSectors,
	}
	end := bootSectorEnd{Drive: 0x80, Signature: extendedBoot, VolumeID: o.VolumeID, Label: label}
	copy(end.Kind[:], g.kind.String()+"   ")
	var middle []byte
	if g.kind == FAT32 {
		middle = encode(bootSector32{
			FATSize: uint32(g.fatSize), RootCluster: rootCluster32, InfoSector: infoSector, Backup: backupSector,
		})
	} else {
		s.FATSize16 = uint16(g.fatSize)
	}
	if g.sectors < 1<<16 && g.kind != FAT32 {
		s.Sectors16 = uint16(g.sectors)
	} else {
		s.Sectors32 = uint32(g.sectors)
	}
	code := binary.Size(s) + len(middle) + binary.Size(end)
	s.Jump = [3]byte{0xeb, byte(code - 2), 0x90}
	b := append(append(encode(s), middle...), encode(end)...)
	return signed(append(b, notBootable...))
}

// signed is a sector of 512 bytes with the signature of boot sectors.
func signed(b []byte) []byte {
	b = append(b, make([]byte, 512-len(b))...)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// encodeInfo returns the FSInfo sector of FAT32: how many clusters are free and
// which one is the first of them.
func encodeInfo(free, next uint32) []byte {
	b := make([]byte, 510)
	binary.LittleEndian.PutUint32(b[0:], 0x41615252)
	binary.LittleEndian.PutUint32(b[484:], 0x61417272)
	binary.LittleEndian.PutUint32(b[488:], free)
	binary.LittleEndian.PutUint32(b[492:], next)
	return signed(b)
}

// decodeBootSector finds out where everything is.
func (r *Reader) decodeBootSector(b []byte) error {
	var s bootSector
	var s32 bootSector32
	var end bootSectorEnd
	n, err := binary.Decode(b, binary.LittleEndian, &s)
	if err != nil {
		return err
	}
	if !s.plausible() || b[510] != 0x55 || b[511] != 0xaa {
		return ErrNotFAT
	}
	if s.FATSize16 == 0 {
		k, err := binary.Decode(b[n:], binary.LittleEndian, &s32)
		if err != nil {
			return err
		}
		n += k
	}
	if _, err := binary.Decode(b[n:], binary.LittleEndian, &end); err != nil {
		return err
	}
	if end.Signature == extendedBoot {
		r.VolumeID, r.Label = end.VolumeID, decodeLabel(end.Label)
	}
	return r.place(&s, s32)
}

// place takes over what the boot sector says of sizes and places.
func (r *Reader) place(s *bootSector, s32 bootSector32) (err error) {
	if r.g, err = s.geometry(s32); err != nil {
		return err
	}
	r.Kind, r.SectorSize, r.ClusterSize = r.g.kind, int(r.g.sector), int(r.g.cluster)
	r.Size, r.fat, r.rootCluster = r.g.sectors*r.g.sector, r.g.fatAt(0), s32.RootCluster
	if s32.Flags&0x80 != 0 {
		active := int64(s32.Flags & 0xf)
		if active >= r.g.fats {
			return fmt.Errorf("table %d is in use, there are %d", active+1, r.g.fats)
		}
		r.fat = r.g.fatAt(active)
	}
	return nil
}

// plausible tells a boot sector from others that end with the same signature.
func (s *bootSector) plausible() bool {
	sector, cluster := s.SectorSize, s.ClusterSectors
	return (s.Jump[0] == 0xeb || s.Jump[0] == 0xe9) &&
		sector >= 512 && sector <= 4096 && sector&(sector-1) == 0 &&
		cluster > 0 && cluster&(cluster-1) == 0 &&
		s.Reserved > 0 && s.FATs > 0 && (s.Media == 0xf0 || s.Media >= 0xf8)
}

// geometry tells FAT32 from the others as all drivers do: by the field for the
// size of small tables, which it does not use.
func (s *bootSector) geometry(s32 bootSector32) (*geometry, error) {
	g := &geometry{
		kind: FAT32, sector: int64(s.SectorSize), cluster: int64(s.SectorSize) * int64(s.ClusterSectors),
		sectors: int64(s.Sectors16), reserved: int64(s.Reserved), fats: int64(s.FATs),
		fatSize: int64(s.FATSize16), rootSlots: int64(s.RootSlots),
	}
	if g.sectors == 0 {
		g.sectors = int64(s.Sectors32)
	}
	if s.FATSize16 == 0 {
		g.fatSize = int64(s32.FATSize)
	}
	g.clusters = (g.sectors*g.sector - g.dataAt()) / g.cluster
	if g.fatSize == 0 || g.clusters <= 0 || g.clusters >= 1<<28-12 {
		return nil, fmt.Errorf("%d sectors with tables of %d sectors do not make a file system", g.sectors, g.fatSize)
	}
	switch {
	case s.FATSize16 == 0:
	case g.clusters < 4085:
		g.kind = FAT12
	case g.clusters < 65525:
		g.kind = FAT16
	default:
		return nil, fmt.Errorf("%d clusters are too many for FAT16", g.clusters)
	}
	// No entry, no cluster: what Linux does with a short table.
	g.clusters = min(g.clusters, g.fatSize*g.sector*8/int64(g.kind)-2)
	return g, nil
}
