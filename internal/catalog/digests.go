package catalog

import (
	"fmt"
	"strings"
)

// DigestsName is the file that makes an image a catalog.
const DigestsName = "image-digests"

const (
	// maxDigests bounds image-digests, in bytes: the 90 extensions of Talos take
	// 12 KiB.
	maxDigests = 2 << 20
	// MaxEntries bounds the images of a catalog.
	MaxEntries = 4096
	// maxProblems bounds what is noted of one file; the rest is counted.
	maxProblems = 20
)

// parseDigests reads image-digests. Lines without @ are ignored, as everybody
// does; those that cannot be an image are problems.
func parseDigests(text string, p *problems) ([]Image, error) {
	var images []Image
	seen := map[Image]bool{}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		line = strings.TrimSpace(line)
		if !strings.Contains(line, "@") {
			continue
		}
		img, err := ParseImage(line)
		switch {
		case err != nil:
			p.add("%s, line %d: %v", DigestsName, number, err)
		case seen[img]:
			p.add("%s, line %d: %s is there twice", DigestsName, number, img)
		case len(images) == MaxEntries:
			return nil, fmt.Errorf("%s: more than %d images", DigestsName, MaxEntries)
		default:
			seen[img] = true
			images = append(images, img)
		}
	}
	return images, nil
}

func formatDigests(entries []Entry) []byte {
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintln(&b, e.Image)
	}
	return []byte(b.String())
}

// problems collects what was left out of one file.
type problems struct {
	found   []string
	dropped int
}

func (p *problems) add(format string, args ...any) {
	if len(p.found) == maxProblems {
		p.dropped++
		return
	}
	p.found = append(p.found, fmt.Sprintf(format, args...))
}

func (p *problems) list(file string) []string {
	if p.dropped > 0 {
		return append(p.found, fmt.Sprintf("%s: %d more problems", file, p.dropped))
	}
	return p.found
}
