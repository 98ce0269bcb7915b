// Package levenshtein tells how far two words are from each other: the number of
// bytes to insert, remove or exchange to get from one to the other. Messages
// use it to guess what somebody meant.
package levenshtein

// Distance between two words. Its cost is the product of their lengths, which
// the caller bounds.
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			exchange := diagonal
			if a[i] != b[j] {
				exchange++
			}
			diagonal = row[j+1]
			row[j+1] = min(exchange, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
