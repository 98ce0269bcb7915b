package boot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// run hashes as many files at a time as there are CPUs. Files are checked
// before they are mounted, and nothing else runs that could change them then.
func (s Verify) run(*machine) error {
	errs := make([]error, len(s.Files))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(runtime.NumCPU(), len(s.Files)) {
		workers.Go(func() {
			for i := range next {
				errs[i] = s.Files[i].check()
			}
		})
	}
	for i := range s.Files {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range errs { // the first by the order of layers
		if err != nil {
			return err
		}
	}
	return nil
}

func (d Digest) check() error {
	f, err := os.Open(d.File)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{f}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("reading %s: %w", d.File, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != d.SHA256 {
		return advise(fmt.Errorf("%s is not what %s says: its sha256 is %s, want %s", d.File, configFile, got, d.SHA256),
			"the boot asset was damaged or changed after it was made: write it to the medium again, make it again, or boot the one before")
	}
	return nil
}
