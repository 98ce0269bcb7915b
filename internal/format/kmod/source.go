package kmod

import (
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// Source is a module that has not been read yet.
type Source struct {
	// Path is relative to lib/modules/VERSION, with slashes.
	Path string

	// Open returns the module, plain or compressed. If what it returns is also
	// an io.ReaderAt with a method Stat, as *os.File is, only the parts of a
	// plain module that matter are read.
	Open func() (io.ReadCloser, error)
}

// Sources lists the modules in lib/modules/VERSION, sorted by path. Like
// depmod it passes over what is named build or source; unlike depmod it does
// not follow symbolic links to directories.
func Sources(dir fs.FS) ([]Source, error) {
	var sources []Source
	err := fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == "build" || d.Name() == "source":
			if d.IsDir() {
				return fs.SkipDir
			}
		case !d.IsDir() && IsModule(path):
			sources = append(sources, Source{path, func() (io.ReadCloser, error) { return dir.Open(path) }})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing kernel modules: %w", err)
	}
	return sources, nil
}

// ReadAll reads the facts of many modules with the given number of workers (at
// least one). The result has the order of the sources, whatever the number; so
// has the error, that of the first source that fails.
func ReadAll(sources []Source, workers int) ([]Module, error) {
	modules := make([]Module, len(sources))
	errs := make([]error, len(sources))
	next := make(chan int)
	var wg sync.WaitGroup
	for range max(workers, 1) {
		wg.Go(func() {
			for i := range next {
				modules[i], errs[i] = sources[i].read()
			}
		})
	}
	for i := range sources {
		next <- i
	}
	close(next)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return modules, nil
}

func (s Source) read() (Module, error) {
	r, err := s.Open()
	if err != nil {
		return Module{}, fmt.Errorf("opening kernel module %s: %w", s.Path, err)
	}
	defer r.Close()
	info, err := readOpened(r)
	if err != nil {
		return Module{}, fmt.Errorf("reading kernel module %s: %w", s.Path, err)
	}
	return Module{Path: s.Path, Info: *info}, nil
}

func readOpened(r io.Reader) (*Info, error) {
	f, ok := r.(interface {
		io.ReaderAt
		Stat() (fs.FileInfo, error)
	})
	if !ok {
		return ReadInfo(r)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return ParseInfo(f, info.Size())
}
