package fat

import (
	"encoding/binary"
	"time"
)

// Attributes of a file.
const (
	attrReadOnly = 0x01
	attrLabel    = 0x08
	attrDir      = 0x10
	attrArchive  = 0x20
	attrLong     = 0x0f // no file: a part of a long name
)

// slot is the entry of a file in a directory.
type slot struct {
	Name         shortName
	Attributes   uint8
	Case         uint8 // flags of Windows NT: parts of the short name that are lower case
	CreatedTenth uint8 // 10 ms
	Created      stamp
	Accessed     uint16 // day
	ClusterHigh  uint16
	Written      stamp
	ClusterLow   uint16
	Size         uint32
}

func (s *slot) cluster() uint32 { return uint32(s.ClusterHigh)<<16 | uint32(s.ClusterLow) }

func (s *slot) setCluster(c uint32) { s.ClusterHigh, s.ClusterLow = uint16(c>>16), uint16(c) }

// setTime makes it all three times of the file.
func (s *slot) setTime(t time.Time) {
	t = possible(t)
	s.Written = newStamp(t)
	s.Created, s.CreatedTenth = s.Written, uint8(t.Second()%2*100)
	s.Accessed = s.Written.Day
}

// stamp is a point of time, exact to two seconds.
type stamp struct {
	Time uint16 // hours, minutes and two seconds, in 5, 6 and 5 bits
	Day  uint16 // years since 1980, month and day, in 7, 4 and 5 bits
}

var (
	firstTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
)

// possible is the nearest time that a file can have.
func possible(t time.Time) time.Time {
	switch {
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t.UTC()
}

func newStamp(t time.Time) stamp {
	return stamp{
		Time: uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2),
		Day:  uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()),
	}
}

// time is the zero time for a stamp that was never set.
func (s stamp) time() time.Time {
	if s.Day == 0 {
		return time.Time{}
	}
	return time.Date(1980+int(s.Day>>9), time.Month(s.Day>>5&15), int(s.Day&31),
		int(s.Time>>11), int(s.Time>>5&63), int(s.Time&31)*2, 0, time.UTC)
}

// encode returns the bytes of a structure of numbers and arrays.
func encode(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err) // the type has no fixed size: a mistake of this package
	}
	return b
}
