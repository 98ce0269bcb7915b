package fat

import (
	"encoding/binary"
	"fmt"
)

// window is a part of the allocation table in memory.
type window struct {
	r    *Reader
	at   int64 // in the table
	data []byte
}

// windowSize in bytes holds a whole FAT12, whose entries are in two bytes each,
// and is little enough for chains that jump from one end to the other.
const windowSize = 8 << 10

func (r *Reader) window() *window {
	return &window{r: r, at: -windowSize, data: make([]byte, windowSize)}
}

// entry is what the table says of a cluster.
func (w *window) entry(c uint32) (uint32, error) {
	off := int64(c) * int64(w.r.Kind) / 8
	if off < w.at || off >= w.at+windowSize {
		if err := w.load(off / windowSize * windowSize); err != nil {
			return 0, err
		}
	}
	switch b := w.data[off-w.at:]; w.r.Kind {
	case FAT32:
		return binary.LittleEndian.Uint32(b) & (1<<28 - 1), nil
	case FAT16:
		return uint32(binary.LittleEndian.Uint16(b)), nil
	default:
		return uint32(binary.LittleEndian.Uint16(b)) >> (c % 2 * 4) & 0xfff, nil
	}
}

func (w *window) load(at int64) error {
	n := min(windowSize, w.r.g.fatSize*w.r.g.sector-at)
	w.at = -windowSize // nothing, should it fail
	if err := readFull(w.r.r, w.data[:n], w.r.fat+at); err != nil {
		return err
	}
	w.at = at
	return nil
}

// run is a number of clusters that are one behind the other.
type run struct {
	first, count uint32
}

// maxRuns bounds how many runs all files have together: a file system that is
// more fragmented than that is not one that boots a machine.
const maxRuns = 1 << 18

// chains follows chains of clusters and knows which are taken.
type chains struct {
	window *window
	taken  []uint64 // a bit for each cluster
	runs   int
}

func (r *Reader) chains() *chains {
	return &chains{window: r.window(), taken: make([]uint64, (r.g.clusters+2+63)/64)}
}

// follow returns the runs of a chain. It goes to its end, or ends after count
// clusters if that is more than 0: whatever follows is no part of the file.
func (c *chains) follow(first uint32, count int64) ([]run, error) {
	var runs []run
	end := c.window.r.g.endOfChain()
	for at, n := first, int64(1); ; n++ {
		if err := c.take(at); err != nil {
			return nil, err
		}
		if last := len(runs) - 1; last >= 0 && runs[last].first+runs[last].count == at {
			runs[last].count++
		} else if runs = append(runs, run{at, 1}); c.runs+len(runs) > maxRuns {
			return nil, fmt.Errorf("the files are in more than %d pieces", maxRuns)
		}
		next, err := c.window.entry(at)
		if err != nil {
			return nil, err
		}
		if n < count && next >= end {
			return nil, fmt.Errorf("its chain ends after %d clusters of %d", n, count)
		}
		if n == count || next >= end {
			c.runs += len(runs)
			return runs, nil
		}
		at = next
	}
}

// take makes a cluster one of a chain. None is in two, and none twice in one:
// so there is no loop, either.
func (c *chains) take(at uint32) error {
	if at < 2 || int64(at) >= c.window.r.g.clusters+2 {
		return fmt.Errorf("its chain goes to cluster %d, which does not exist", at)
	}
	word, bit := &c.taken[at/64], uint64(1)<<(at%64)
	if *word&bit != 0 {
		return fmt.Errorf("its chain meets cluster %d, which is taken already", at)
	}
	*word |= bit
	return nil
}

// endOfChain is the least of the entries that end a chain.
func (g *geometry) endOfChain() uint32 { return 1<<min(g.kind, 28) - 8 }
