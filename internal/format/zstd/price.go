package zstd

import "math/bits"

// Prices are in units of 1/256 bit.
const (
	priceShift = 8
	oneBit     = 1 << priceShift
)

// log2Fraction is the binary logarithm of 1+i/256 in prices. It is computed in
// whole numbers, as a float may differ by the processor.
var log2Fraction = func() (table [256]uint16) {
	for i := range table {
		x := uint64(256+i) << 22
		for range priceShift {
			x = x * x >> 30
			table[i] <<= 1
			if x >= 2<<30 {
				x >>= 1
				table[i]++
			}
		}
	}
	return table
}()

// log2 is the binary logarithm of a positive number in prices.
func log2(x uint32) uint32 {
	whole := uint32(bits.Len32(x)) - 1
	return whole<<priceShift + uint32(log2Fraction[uint8(uint64(x)<<8>>whole)])
}
