//go:build linux

// Command probe is /sbin/init of the base in the boot tests, in the daemon's
// place. It looks around as the daemon would find things, says what it sees on
// the console, and then becomes the daemon. It judges nothing: the test outside
// knows what should be there.
//
//	probe: file 0755 12 <sha256> /usr/local/bin/x
//	probe: link ../y /usr/local/bin/z
//	probe: dir 0755 /usr/local
//	probe: write /usr/x: read-only file system
//	probe: mounted / overlay ro,nosuid
//	probe: kernel 1.234567 graft-init: …
//	probe: module btrfs Live
//	probe: done
//
// It is part of the tests and of no product.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// daemon is where the test has put what /sbin/init would have been.
const daemon = "/usr/sbin/graftd"

func main() {
	unmountProc := mountProc()
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"files", listFiles},
		{"writes", tryWrites},
		{"mounts", listMounts},
		{"kernel messages", listMessages},
		{"modules", loadModules},
	} {
		if err := step.run(); err != nil {
			say("error: %s: %v", step.name, err)
		}
	}
	say("done")
	unmountProc()
	err := unix.Exec(daemon, []string{"/sbin/init"}, os.Environ())
	say("error: becoming the daemon: %v", err)
}

func say(format string, args ...any) {
	fmt.Printf("probe: "+format+"\n", args...)
}

// mountProc makes /proc available if nobody has yet, and returns how to undo it.
func mountProc() func() {
	if _, err := os.Stat("/proc/self"); err == nil {
		return func() {}
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		say("error: mounting /proc: %v", err)
	}
	return func() { _ = unix.Unmount("/proc", unix.MNT_DETACH) }
}

// listFiles says what is in the root filesystem, where extensions may add.
func listFiles() error {
	for _, dir := range []string{"/etc", "/usr"} {
		err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return listFile(name, d)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func listFile(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		say("dir %04o %s", info.Mode().Perm(), name)
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		say("link %s %s", target, name)
	case d.Type().IsRegular():
		sum, err := hash(name)
		if err != nil {
			return err
		}
		say("file %04o %d %s %s", info.Mode().Perm(), info.Size(), sum, name)
	default:
		say("special %v %s", d.Type(), name)
	}
	return nil
}

func hash(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// tryWrites says how the system answers to those who want to change it.
func tryWrites() error {
	for _, name := range []string{"/new", "/usr/new", "/usr/local/new", "/usr/lib/firmware/new", "/etc/extensions.yaml"} {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			f.Close()
			say("write %s: done", name)
			continue
		}
		say("write %s: %v", name, errors.Unwrap(err))
	}
	return nil
}

// listMounts says what is mounted where, in which way (proc_pid_mountinfo(5)).
func listMounts() error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		left, right, _ := strings.Cut(line, " - ")
		where, what := strings.Fields(left), strings.Fields(right)
		say("mounted %s %s %s", where[4], what[0], where[5])
	}
	return nil
}

// listMessages says what graft-init has told the kernel's log, with the seconds
// since the kernel started.
func listMessages() error {
	if _, err := os.Stat("/dev/kmsg"); err != nil {
		if err := unix.Mount("devtmpfs", "/dev", "devtmpfs", 0, ""); err != nil {
			return err
		}
		defer unix.Unmount("/dev", unix.MNT_DETACH)
	}
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	record := make([]byte, 8<<10) // CONSOLE_EXT_LOG_MAX: one read is one record
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EPIPE): // the oldest were overwritten
			continue
		case err != nil:
			return err
		}
		sayMessage(record[:n])
	}
}

// sayMessage takes a record apart: priority,sequence,microseconds,flags;text.
func sayMessage(record []byte) {
	prefix, text, _ := bytes.Cut(record, []byte(";"))
	text, _, _ = bytes.Cut(text, []byte("\n"))
	fields := strings.Split(string(prefix), ",")
	if len(fields) < 3 || !bytes.Contains(text, []byte("graft-init")) && !bytes.Contains(text, []byte("system extension")) {
		return
	}
	var micros int64
	fmt.Sscan(fields[2], &micros)
	say("kernel %d.%06d %s", micros/1e6, micros%1e6, text)
}
