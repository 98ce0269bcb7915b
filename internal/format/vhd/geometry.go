package vhd

// geometry is a number of cylinders, of heads (tracks of a cylinder) and of
// sectors in a track.
type geometry struct{ cylinders, heads, sectors int64 }

// largest is what the fields can hold by convention. Readers take the size in
// bytes when they see it.
var largest = geometry{65535, 16, 255}

func (g geometry) product() int64 { return g.cylinders * g.heads * g.sectors }

// geometryOf computes the geometry for a number of sectors as the appendix "CHS
// Calculation" of the specification does. Its product may be smaller.
func geometryOf(total int64) geometry {
	total = min(total, largest.product())
	if total >= 65535*16*63 {
		return geometry{total / 255 / 16, 16, 255}
	}
	tracks := total / 17
	heads := max(4, (tracks+1023)/1024)
	switch {
	case tracks < heads*1024 && heads <= 16:
		return geometry{tracks / heads, heads, 17}
	case total/31 < 16*1024:
		return geometry{total / 31 / 16, 16, 31}
	}
	return geometry{total / 63 / 16, 16, 63}
}

// roundUp finds the geometry that qemu-img chooses for a number of sectors: the
// one of the first number from there on whose geometry is not too small. If
// there is none it is the largest.
func roundUp(total int64) geometry {
	g := largest
	if total >= g.product() {
		return g
	}
	for try := total; ; try++ {
		if g = geometryOf(try); g.product() >= total {
			return g
		}
	}
}
