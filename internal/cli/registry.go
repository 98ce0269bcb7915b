package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/catalog"
	"github.com/graftlinux/graft/internal/oci"
	"github.com/graftlinux/graft/internal/registry"
)

func newRegistry(s Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Run a registry on a directory, and look after it",
		Long: `Run a container registry that keeps everything in one directory: for
demonstrations, tests and small sites without a network. The directory can be
copied while no server runs, and listed, collected and deleted from at any time.`,
		Args: knownVerb,
		RunE: help,
	}
	cmd.AddCommand(newRegistryServe(s), newRegistryList(s), newRegistryGC(s), newRegistryDelete(s))
	return cmd
}

// registryServe are the flags of graft registry serve.
type registryServe struct {
	listen    string
	readOnly  bool
	verbose   bool
	cert, key string
}

func newRegistryServe(s Streams) *cobra.Command {
	var flags registryServe
	cmd := &cobra.Command{
		Use:   "serve DIR",
		Short: "Serve a directory as a registry until interrupted",
		Long: `Serve a directory, which is made if it is not there, as a registry: push, pull,
tags, referrers, deletion. The address is printed when the registry can be
reached; with port 0 a free port is taken.

There are no users and no passwords. That is why only this machine is served
unless --listen says otherwise: then everybody who reaches the address can read
everything and, without --read-only, change it.`,
		Example: `  graft registry serve ./registry
  graft registry serve ./registry --listen 127.0.0.1:0
  graft registry serve /mnt/stick/registry --read-only --listen 10.0.0.1:5000 --tls-cert cert.pem --tls-key key.pem`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&flags.listen, "listen", "127.0.0.1:5000", "address and port")
	cmd.Flags().BoolVar(&flags.readOnly, "read-only", false, "refuse changes, and write nothing into the directory")
	cmd.Flags().BoolVarP(&flags.verbose, "verbose", "v", false, "print every request")
	cmd.Flags().StringVar(&flags.cert, "tls-cert", "", "serve HTTPS with this certificate (PEM, its chain after it)")
	cmd.Flags().StringVar(&flags.key, "tls-key", "", "key of the certificate (PEM)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if (flags.cert == "") != (flags.key == "") {
			return usageError(errors.New("--tls-cert and --tls-key are a pair: give both, or none for plain HTTP"))
		}
		return flags.serve(cmd.Context(), s, args[0])
	}
	return cmd
}

func (f registryServe) serve(ctx context.Context, s Streams, dir string) error {
	opts := registry.Options{ReadOnly: f.readOnly, Report: func(r registry.Request) { printRequest(s, r, f.verbose) }}
	if f.cert != "" {
		cert, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return inputError(fmt.Errorf("reading the certificate of the registry: %w", err))
		}
		opts.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	}
	srv, err := registry.New(dir, opts)
	if err != nil {
		return registryError(err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return withCode(exitEnvironment, errors.Join(fmt.Errorf("listening for the registry's clients: %w", err), srv.Close()), "choose another address with --listen, or a free port with --listen 127.0.0.1:0")
	}
	f.greet(s, dir, l.Addr())
	return errors.Join(srv.Serve(ctx, l), srv.Close())
}

// greet says where the registry is.
func (f registryServe) greet(s Streams, dir string, at net.Addr) {
	scheme, how, all := "http", "", "push and delete"
	if f.cert != "" {
		scheme = "https"
	}
	if f.readOnly {
		how, all = ", read-only", "read"
	}
	fmt.Fprintf(s.Err, "serving %s on %s://%s%s\n", dir, scheme, at, how)
	if a, err := netip.ParseAddrPort(at.String()); err != nil || !a.Addr().IsLoopback() {
		fmt.Fprintf(s.Err, "warning: there are no users and no passwords: everybody who reaches this address can %s everything\n", all)
	}
	fmt.Fprintln(s.Out, at)
}

// printRequest prints a request that failed for a reason of ours, or every one.
func printRequest(s Streams, r registry.Request, verbose bool) {
	if r.Err != nil {
		fmt.Fprintf(s.Err, "%s %s: %d: %v\n", r.Method, printable(r.Path), r.Status, r.Err)
	} else if verbose {
		fmt.Fprintf(s.Err, "%s %s: %d\n", r.Method, printable(r.Path), r.Status)
	}
}

// registryError gives an error its code and a hint.
func registryError(err error) error {
	switch {
	case errors.Is(err, registry.ErrNoRegistry):
		return withCode(exitInvalid, err, "graft registry serve makes one in an empty directory")
	case errors.Is(err, registry.ErrUnknown):
		return withCode(exitInvalid, err, "graft registry list DIR --all shows what is there")
	}
	return inputError(err)
}

func newRegistryList(s Streams) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:     "list DIR",
		Aliases: []string{"ls"},
		Short:   "List the images in a directory",
		Example: `  graft registry list ./registry
  graft registry list ./registry --all -o json`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also list what has no tag: parts of other images, signatures, what lost its tag")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		found, err := registry.List(cmd.Context(), args[0])
		if err != nil {
			return registryError(err)
		}
		images := []registry.Image{}
		for _, i := range found {
			if all || i.Tag != "" {
				images = append(images, i)
			}
		}
		return printImages(s, images, *format)
	}
	return cmd
}

func printImages(s Streams, images []registry.Image, format string) error {
	switch format {
	case "json":
		return printJSON(s.Out, images)
	case "yaml":
		return printYAML(s.Out, images)
	}
	t := newTable(s.Out, "REPOSITORY", "TAG", "DIGEST", "SIZE", "TYPE")
	for _, i := range images {
		t.row(i.Repository, cmp.Or(i.Tag, "-"), i.Digest, size(i.Size), printable(i.Type))
	}
	return t.flush()
}

func newRegistryGC(s Streams) *cobra.Command {
	var (
		age  time.Duration
		opts registry.CollectOptions
	)
	cmd := &cobra.Command{
		Use:   "gc DIR",
		Short: "Remove what no image needs, and uploads that were given up",
		Long: `Remove blobs that no manifest of their repository needs, contents that no
repository has, and uploads that nobody went on with. A server may be running on
the directory. Manifests without a tag stay, since they may be pinned by digest,
unless --untagged is given; even then those in tagged indexes, those that a
tagged catalog (graft catalog) lists, and signatures of what stays, stay.`,
		Example: `  graft registry gc ./registry --dry-run
  graft registry gc ./registry --untagged --older-than 168h`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().DurationVar(&age, "older-than", 24*time.Hour, "spare what was pushed or asked for since: it may be part of a push")
	cmd.Flags().BoolVar(&opts.Untagged, "untagged", false, "remove manifests, too, that no tag leads to")
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "only say what would be removed")
	format := formatFlag(cmd, "table", "json", "yaml")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if age < 0 {
			return usageError(fmt.Errorf("--older-than %s is less than nothing", age))
		}
		opts.Before = time.Now().Add(-age)
		opts.Lists = listedImages
		c, err := registry.Collect(cmd.Context(), args[0], opts)
		if errors.Is(err, registry.ErrNoRegistry) {
			return registryError(err)
		}
		return errors.Join(printCollected(s, c, opts.DryRun, *format), err)
	}
	return cmd
}

func printCollected(s Streams, c registry.Collected, dry bool, format string) error {
	switch format {
	case "json":
		return printJSON(s.Out, c)
	case "yaml":
		return printYAML(s.Out, c)
	}
	done, stay := "removed", "stay"
	if dry {
		done, stay = "would be removed", "would stay"
	}
	if c.Listed > 0 {
		fmt.Fprintf(s.Err, "%s without a tag %s, as catalogs here list what they belong to\n", count(c.Listed, "manifest"), stay)
	}
	_, err := fmt.Fprintf(s.Out, "%s: %d manifests, %d blobs, %d uploads, %d empty repositories; %s\n", done, c.Manifests, c.Blobs, c.Uploads, c.Repositories, size(c.Bytes))
	return err
}

// maxUnnamedCatalog bounds what is looked into that is not called as catalogs are,
// in bytes with all that it needs: extensions and boot assets are larger, and no
// catalogs.
const maxUnnamedCatalog = 8 << 20

// listedImages are the digests that an image of a registry lists, if it is a
// catalog.
func listedImages(ctx context.Context, layout string, i registry.Image) ([]string, error) {
	named := path.Base(i.Repository) == path.Base(catalog.Default)
	if i.Type != "image" && i.Type != "index" || strings.HasPrefix(i.Tag, "sha256-") || !named && i.Size > maxUnnamedCatalog {
		return nil, nil // sha256-… are signatures in cosign's old form
	}
	digests, err := catalog.Listed(ctx, "oci:"+layout+"@"+i.Digest, oci.Options{})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, catalog.ErrNoCatalog), err != nil && !named:
		return nil, nil
	case err != nil:
		return nil, withCode(exitInvalid, fmt.Errorf("%s:%s may be a catalog: %w", i.Repository, i.Tag, err),
			"graft registry delete removes a catalog that is not wanted any more")
	}
	return digests, nil
}

func newRegistryDelete(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "delete DIR REF...",
		Short: "Remove tags or images from a directory",
		Long: `Remove the tag NAME:TAG, or the manifest NAME@DIGEST with all its tags. A server
may be running on the directory. The space is free after graft registry gc.`,
		Example: `  graft registry delete ./registry siderolabs/gvisor:20250505.0
  graft registry delete ./registry siderolabs/gvisor@sha256:0123…`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, ref := range args[1:] {
				if err := registry.Delete(args[0], ref); err != nil {
					return registryError(err)
				}
				fmt.Fprintf(s.Err, "deleted %s\n", ref)
			}
			return nil
		},
	}
}
