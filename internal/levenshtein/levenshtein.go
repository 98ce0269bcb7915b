// Package levenshtein tells how far two words are from each other: the number of
// bytes to insert, remove or exchange, and of neighbours to swap, to get from one
// to the other. Messages use it to guess what somebody meant.
package levenshtein

// Distance between two words, whatever the case of their ASCII letters. No byte
// is changed after it was swapped (optimal string alignment). The cost is the
// product of the lengths, which the caller bounds.
func Distance(a, b string) int {
	var before []int // the row above the one above
	above := make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			exchange := above[j]
			if !same(a[i], b[j]) {
				exchange++
			}
			row[j+1] = min(exchange, row[j]+1, above[j+1]+1)
			if i > 0 && j > 0 && same(a[i], b[j-1]) && same(a[i-1], b[j]) {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

func same(x, y byte) bool { return lower(x) == lower(y) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
