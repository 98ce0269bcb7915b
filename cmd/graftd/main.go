// Command graftd is the daemon of graft's reference base. As PID 1 it brings
// the machine up; either way it serves the machine's extensions as resources, to
// be seen with "graft get extensions --insecure" or with talosctl.
//
// Started by hand it only serves, from a list of extensions in a file: for
// those who write clients.
//
//	graftd --listen 127.0.0.1:50000 --extensions extensions.yaml
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"

	"github.com/graftlinux/graft/internal/node"
	"github.com/graftlinux/graft/internal/resource"
)

func main() {
	if os.Getpid() == 1 {
		node.Boot()
	}
	os.Exit(serve())
}

func serve() int {
	address := flag.String("listen", "127.0.0.1:"+resource.Port, "`ADDRESS` to serve on; port 0 is any free one")
	file := flag.String("extensions", node.ExtensionsFile, "`FILE` that lists the extensions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l := node.NewLogger(os.Stderr)
	layers, err := node.Layers(*file)
	if err == nil {
		err = node.Serve(ctx, l, *address, layers)
	}
	if err != nil {
		l.Error(err.Error())
		return 1
	}
	return 0
}
