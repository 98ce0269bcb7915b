package iso

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// maxContinuations of one record. One is usual, and one has up to 2048 bytes.
const maxContinuations = 32

// rockRidge is what the fields of system use say about a file.
type rockRidge struct {
	name      string
	mode      uint32 // 0 if it is not said
	modTime   time.Time
	child     uint32 // block of the directory that this stands for (CL)
	relocated bool   // a directory that something else stands for (RE)
}

// apply sets mode and time, not the type of a directory.
func (rr rockRidge) apply(e *entry) {
	if rr.mode != 0 && e.mode.IsDir() {
		e.mode = fs.ModeDir | fileMode(rr.mode).Perm()
	} else if rr.mode != 0 {
		e.mode = fileMode(rr.mode) &^ fs.ModeDir
	}
	if !rr.modTime.IsZero() {
		e.modTime = rr.modTime
	}
}

// area is a continuation area.
type area struct{ block, offset, size uint32 }

// rockRidge reads the fields of system use, and where they continue.
func (t *treeReader) rockRidge(system []byte) (rr rockRidge, err error) {
	if t.skip < 0 {
		return rr, nil
	}
	system = system[min(t.skip, len(system)):]
	for range maxContinuations {
		next, err := rr.parse(system)
		if err != nil || next == nil {
			return rr, err
		}
		if err := t.spend(int64(next.size)); err != nil {
			return rr, err
		}
		system, err = t.bytes(int64(next.block)*BlockSize+int64(next.offset), int64(next.size))
		if err != nil {
			return rr, fmt.Errorf("continuation area: %w", err)
		}
	}
	return rr, fmt.Errorf("more than %d continuation areas", maxContinuations)
}

// parse takes the fields of one area. A byte of padding may follow the last.
func (rr *rockRidge) parse(b []byte) (next *area, err error) {
	for len(b) >= 4 && b[0] != 0 {
		n := int(b[2])
		if n < 4 || n > len(b) {
			return nil, fmt.Errorf("a system use field of %d bytes", n)
		}
		f := b[:n]
		b = b[n:]
		switch string(f[:2]) {
		case "ST": // SUSP 5.4: the last
			return next, nil
		case "CE":
			if n < continueSize {
				return nil, fmt.Errorf("a CE field of %d bytes", n)
			}
			next = &area{littleEndian.Uint32(f[4:]), littleEndian.Uint32(f[12:]), littleEndian.Uint32(f[20:])}
		default:
			if err := rr.field(string(f[:2]), f[4:]); err != nil {
				return nil, err
			}
		}
	}
	return next, nil
}

// field takes one field without its four bytes of header.
func (rr *rockRidge) field(signature string, data []byte) error {
	switch signature {
	case "NM":
		return rr.addName(data)
	case "PX":
		if len(data) < 8 {
			return errors.New("a PX field that is too short")
		}
		rr.mode = littleEndian.Uint32(data)
	case "TF":
		return rr.setTime(data)
	case "CL":
		if len(data) < 8 {
			return errors.New("a CL field that is too short")
		}
		rr.child = littleEndian.Uint32(data)
	case "RE":
		rr.relocated = true
	}
	return nil
}

func (rr *rockRidge) addName(data []byte) error {
	if len(data) == 0 {
		return errors.New("an NM field that is too short")
	}
	if data[0]&(nameCurrent|nameParent) != 0 {
		return nil
	}
	if rr.name += string(data[1:]); len(rr.name) > maxName {
		return fmt.Errorf("a name of more than %d bytes", maxName)
	}
	return nil
}

// setTime finds the time of modification, which only that of creation is before.
func (rr *rockRidge) setTime(data []byte) error {
	if len(data) == 0 {
		return errors.New("a TF field that is too short")
	}
	flags, times := data[0], data[1:]
	if flags&timeModified == 0 {
		return nil
	}
	size := 7
	if flags&timeLong != 0 {
		size = 17
	}
	at := 0
	if flags&timeCreated != 0 {
		at = size
	}
	if len(times) < at+size {
		return errors.New("a TF field that is too short")
	}
	if flags&timeLong != 0 {
		rr.modTime = parseLongTime(times[at:])
	} else {
		rr.modTime = parseShortTime(times[at:])
	}
	return nil
}
