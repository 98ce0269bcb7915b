package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/graftlinux/graft/internal/resource"
)

// getFlags say which nodes to ask, and for what.
type getFlags struct {
	nodes       []string
	endpoints   []string
	insecure    bool
	talosconfig string
	context     string

	namespace string
	timeout   time.Duration
	watch     bool
	format    *string
}

func newGet(s Streams) *cobra.Command {
	var g getFlags
	cmd := &cobra.Command{
		Use:   "get TYPE [ID]",
		Short: "List the resources of nodes: their extensions, say",
		Long: `List the resources of nodes, or show one. TYPE is the name of a type or an alias:
"graft get rd" lists the types that a node knows.

It asks nodes of Talos Linux and of graft's reference base. One in maintenance
mode cannot prove who it is and is asked directly, with --insecure. Others are
asked as the talosconfig says: by way of its endpoints, with its certificates. A node
that is given with a port is always asked directly.`,
		Example: `  graft get extensions --insecure -n 10.0.0.2
  graft get extensions 000.ghcr.io-siderolabs-gvisor-20260905.0-v1.14.0 -n 10.0.0.2 -o yaml
  graft get rd --insecure -n 127.0.0.1:50000
  graft get services -n 10.0.0.2,10.0.0.3 --watch`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.run(cmd.Context(), s, args)
		},
	}
	g.flags(cmd)
	return cmd
}

func (g *getFlags) flags(cmd *cobra.Command) {
	g.format = formatFlag(cmd, "table", "yaml", "json")
	f := cmd.Flags()
	f.StringSliceVarP(&g.nodes, "nodes", "n", nil, "nodes to ask, as HOST or HOST:PORT (default: those of the talosconfig)")
	f.StringSliceVarP(&g.endpoints, "endpoints", "e", nil, "where to connect to (default: the endpoints of the talosconfig)")
	f.BoolVarP(&g.insecure, "insecure", "i", false, "the nodes are in maintenance mode: nobody proves who they are")
	f.StringVar(&g.talosconfig, "talosconfig", "", "the talosconfig (default: $TALOSCONFIG or ~/.talos/config)")
	f.StringVar(&g.context, "context", "", "the context of the talosconfig (default: the one it names)")
	f.StringVar(&g.namespace, "namespace", "", "namespace of the resources (default: that of the type)")
	f.DurationVar(&g.timeout, "timeout", 10*time.Second, "how long a node may take to answer")
	f.BoolVarP(&g.watch, "watch", "w", false, "go on and print every change")
	cmd.MarkFlagsMutuallyExclusive("insecure", "endpoints")
	cmd.MarkFlagsMutuallyExclusive("insecure", "talosconfig")
	cmd.MarkFlagsMutuallyExclusive("insecure", "context")
}

func (g *getFlags) run(ctx context.Context, s Streams, args []string) error {
	nodes, err := g.targets()
	if err != nil {
		return err
	}
	if g.timeout <= 0 {
		return usageError(fmt.Errorf("--timeout %v: wanted is more than nothing", g.timeout))
	}
	q := question{typ: args[0], namespace: g.namespace, timeout: g.timeout}
	if len(args) > 1 {
		q.id = args[1]
	}
	p := newResourcePrinter(*g.format, s.Out, g.watch)
	if g.watch {
		return watchNodes(ctx, s, q, nodes, p)
	}
	return listNodes(ctx, s, q, nodes, p)
}

// targets are the nodes to ask, each once, in the order in which they were
// named.
func (g *getFlags) targets() ([]*target, error) {
	var all []*target
	var err error
	if g.insecure {
		all, err = g.maintenanceTargets()
	} else {
		all, err = g.configuredTargets()
	}
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, withCode(exitInvalid, errors.New("no node is named"), "-n HOST names one")
	}
	return nameTargets(all), nil
}

func (g *getFlags) maintenanceTargets() ([]*target, error) {
	var all []*target
	for _, text := range g.nodes {
		e, err := resource.ParseEndpoint(text)
		if err != nil {
			return nil, usageError(err)
		}
		all = append(all, &target{endpoint: e, by: []resource.Endpoint{e}, tls: resource.Insecure(), insecure: true})
	}
	return all, nil
}

func (g *getFlags) configuredTargets() ([]*target, error) {
	cluster, err := g.cluster()
	if err != nil {
		return nil, err
	}
	config, err := cluster.TLS()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, withCode(exitUnsupported, err)
	}
	if err != nil {
		return nil, usageError(err)
	}
	by, err := parseEndpoints(either(g.endpoints, cluster.Endpoints))
	if err != nil {
		return nil, usageError(err)
	}
	nodes, err := parseEndpoints(either(g.nodes, cluster.Nodes))
	if err != nil {
		return nil, usageError(err)
	}
	var all []*target
	for _, e := range nodes {
		t := &target{endpoint: e, by: by, passOn: e.Host, tls: config}
		if e.PortGiven {
			t.by, t.passOn = []resource.Endpoint{e}, ""
		} else if len(by) == 0 {
			return nil, withCode(exitInvalid, errors.New("the talosconfig names no endpoint"), "-e HOST names one")
		}
		all = append(all, t)
	}
	return all, nil
}

// cluster reads the talosconfig.
func (g *getFlags) cluster() (*resource.TalosContext, error) {
	hint := "a node in maintenance mode needs none, but --insecure"
	path := g.talosconfig
	if path == "" {
		var err error
		if path, err = resource.FindTalosconfig(); err != nil {
			return nil, withCode(exitInvalid, err, "--talosconfig FILE names one", hint)
		}
	}
	config, err := resource.ReadTalosconfig(path)
	if err != nil {
		return nil, withCode(exitInvalid, err, hint)
	}
	picked, err := config.Pick(g.context)
	if err != nil {
		return nil, withCode(exitInvalid, fmt.Errorf("%s: %w", path, err), "--context NAME picks one", hint)
	}
	return picked, nil
}

func either(given, otherwise []string) []string {
	if len(given) > 0 {
		return given
	}
	return otherwise
}

func parseEndpoints(texts []string) ([]resource.Endpoint, error) {
	var all []resource.Endpoint
	for _, text := range texts {
		e, err := resource.ParseEndpoint(text)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// nameTargets removes those that are named twice and gives every other its
// name in the output: the host, with its port only if another has the same host.
func nameTargets(all []*target) []*target {
	var once []*target
	for _, t := range all {
		if !slices.ContainsFunc(once, func(o *target) bool { return o.endpoint == t.endpoint }) {
			once = append(once, t)
		}
	}
	hosts := map[string]int{}
	for _, t := range once {
		hosts[t.endpoint.Host]++
	}
	for _, t := range once {
		t.name = t.endpoint.Host
		if hosts[t.name] > 1 {
			t.name = t.endpoint.String()
		}
	}
	return once
}
