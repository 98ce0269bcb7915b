package resource

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxTalosconfig bounds a talosconfig file, in bytes: one cluster takes 4 KiB.
const MaxTalosconfig = 4 << 20

// Talosconfig is the file in which talosctl keeps how to reach clusters.
type Talosconfig struct {
	// Context is the name of the cluster that is meant if none is named.
	Context  string                   `yaml:"context"`
	Contexts map[string]*TalosContext `yaml:"contexts"`
}

// TalosContext is how to reach one cluster.
type TalosContext struct {
	Endpoints []string `yaml:"endpoints"` // the nodes to connect to
	Target    string   `yaml:"target"`    // the only endpoint, in old files
	Nodes     []string `yaml:"nodes"`     // the nodes to ask
	CA        string   `yaml:"ca"`        // base64 of PEM, as are the next two
	Crt       string   `yaml:"crt"`
	Key       string   `yaml:"key"`
	Auth      struct {
		Basic    any `yaml:"basic"`
		SideroV1 any `yaml:"siderov1"`
	} `yaml:"auth"`
}

// ErrNoTalosconfig says that there is none at the places where it is looked for.
var ErrNoTalosconfig = errors.New("there is no talosconfig")

// FindTalosconfig is the path of the file that talosctl would use: $TALOSCONFIG,
// $TALOS_HOME/config, ~/.talos/config, or the one that pods are given.
func FindTalosconfig() (string, error) {
	if path := os.Getenv("TALOSCONFIG"); path != "" {
		return path, nil
	}
	places := []string{"/var/run/secrets/talos.dev/config"}
	if dir := os.Getenv("TALOS_HOME"); filepath.IsAbs(dir) {
		places = slices.Insert(places, 0, filepath.Join(dir, "config"))
	} else if home, err := os.UserHomeDir(); err == nil {
		places = slices.Insert(places, 0, filepath.Join(home, ".talos", "config"))
	}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: looked for $TALOSCONFIG, %s", ErrNoTalosconfig, strings.Join(places, ", "))
}

// ReadTalosconfig reads a file.
func ReadTalosconfig(path string) (*Talosconfig, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w at %s", ErrNoTalosconfig, path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the talosconfig: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxTalosconfig+1))
	if err != nil {
		return nil, fmt.Errorf("reading the talosconfig: %w", err)
	}
	c, err := ParseTalosconfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseTalosconfig reads the content of such a file.
func ParseTalosconfig(data []byte) (*Talosconfig, error) {
	if len(data) > MaxTalosconfig {
		return nil, fmt.Errorf("parsing the talosconfig: more than the %d bytes that are allowed", MaxTalosconfig)
	}
	var c Talosconfig
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, fmt.Errorf("parsing the talosconfig: %w", err)
	}
	return &c, nil
}

// Pick gives the context of a name, or with no name the one that is current.
func (c *Talosconfig) Pick(name string) (*TalosContext, error) {
	if name == "" {
		name = c.Context
	}
	picked := c.Contexts[name]
	switch {
	case len(c.Contexts) == 0:
		return nil, errors.New("the talosconfig has no context")
	case picked == nil:
		names := slices.Sorted(maps.Keys(c.Contexts))
		return nil, fmt.Errorf("the talosconfig has no context %q, but %s", name, strings.Join(names, ", "))
	case picked.Target != "":
		old := *picked
		old.Endpoints = append(slices.Clone(old.Endpoints), old.Target)
		return &old, nil
	}
	return picked, nil
}

// TLS gives the client's side of mutual TLS.
func (c *TalosContext) TLS() (*tls.Config, error) {
	if c.Auth.Basic != nil || c.Auth.SideroV1 != nil {
		return nil, fmt.Errorf("the talosconfig's context wants to prove its identity by auth (Omni, basic): %w", errors.ErrUnsupported)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CA != "" {
		ca, err := base64.StdEncoding.DecodeString(c.CA)
		if err != nil {
			return nil, fmt.Errorf("decoding ca of the talosconfig: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(ca) {
			return nil, errors.New("decoding ca of the talosconfig: it holds no PEM certificate")
		}
	}
	if c.Crt == "" && c.Key == "" {
		return config, nil
	}
	pair, err := c.keyPair()
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func (c *TalosContext) keyPair() (tls.Certificate, error) {
	crt, err := base64.StdEncoding.DecodeString(c.Crt)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("decoding crt of the talosconfig: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(c.Key)
	if err != nil {
		return tls.Certificate{}, errors.New("decoding key of the talosconfig: it is no base64") // the cause would quote the key
	}
	pair, err := tls.X509KeyPair(crt, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading crt and key of the talosconfig: %w", err)
	}
	return pair, nil
}

// Insecure is the client's side of TLS with a node in maintenance mode, which
// cannot prove who it is.
func Insecure() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}
}
