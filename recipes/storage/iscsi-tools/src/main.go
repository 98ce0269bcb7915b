// Command start-iscsid becomes iscsid, after it has made what iscsid wants to find
// in /etc/iscsi: its settings, and the name of the initiator, by which targets
// know this node. What is there already, it leaves alone.
package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"syscall"
)

const (
	dir      = "/etc/iscsi"
	defaults = "/usr/share/iscsi/iscsid.conf"
	iscsid   = "/sbin/iscsid"
)

func main() {
	if err := prepare(); err != nil {
		log.Fatalf("start-iscsid: %v", err)
	}
	args := append([]string{iscsid}, os.Args[1:]...)
	log.Fatalf("start-iscsid: starting %s: %v", iscsid, syscall.Exec(iscsid, args, os.Environ()))
}

func prepare() error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	settings, err := os.ReadFile(defaults)
	if err != nil {
		return err
	}
	if err := create("iscsid.conf", settings); err != nil {
		return err
	}
	id := make([]byte, 6)
	rand.Read(id) // never fails
	return create("initiatorname.iscsi", fmt.Appendf(nil, "InitiatorName=iqn.2016-04.com.open-iscsi:%x\n", id))
}

// create writes a file, as a whole, that is not there.
func create(name string, data []byte) error {
	name = filepath.Join(dir, name)
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
