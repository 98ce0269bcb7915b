package compress

import "hash/crc32"

// A crcShift is what a CRC-32 is multiplied with when a number of bytes
// follow: x to the power of eight times that number, modulo the polynomial of
// the CRC. So the CRC of a whole is made of those of its parts:
//
//	crc(a+b) = shiftBy(len(b)).of(crc(a)) ^ crc(b)
//
// Bits are reversed, as in the CRC itself: the highest stands for x^0.
type crcShift uint32

// shiftBy takes a step for each bit of n.
func shiftBy(n uint64) crcShift {
	power := crcShift(1 << 31)  // x^0
	square := crcShift(1 << 23) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = crcShift(square.of(uint32(power)))
		}
		square = crcShift(square.of(uint32(square)))
	}
	return power
}

// of multiplies.
func (s crcShift) of(crc uint32) (product uint32) {
	for bit := crcShift(1 << 31); bit > 0; bit >>= 1 {
		if s&bit != 0 {
			product ^= crc
		}
		crc = crc>>1 ^ crc32.IEEE&-(crc&1)
	}
	return product
}
