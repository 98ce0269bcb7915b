package buildkit

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// checkAddress finds mistakes that the client would meet late or never.
func checkAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("reading the address of the BuildKit daemon: %w", err)
	}
	missing := ""
	switch u.Scheme {
	case "unix":
		if u.Path == "" || u.Host != "" {
			missing = "the path of a socket after three slashes: unix:///run/buildkit/buildkitd.sock"
		}
	case "tcp":
		if u.Hostname() == "" || u.Port() == "" {
			missing = "a host and a port: tcp://buildkit.example:1234"
		}
	case "docker-container", "kube-pod":
		if u.Hostname() == "" {
			missing = "a name: " + u.Scheme + "://NAME"
		}
	default:
		missing = "unix://, tcp://, docker-container:// or kube-pod:// in front"
	}
	if missing != "" {
		return fmt.Errorf("reading the address of the BuildKit daemon: %q needs %s", address, missing)
	}
	return nil
}

func (t TLS) check(address string) error {
	switch {
	case t == TLS{}:
		return nil
	case !strings.HasPrefix(address, "tcp://"):
		return fmt.Errorf("connecting to %s: certificates are for tcp:// addresses", address)
	case (t.Cert == "") != (t.Key == ""):
		return fmt.Errorf("connecting to %s: a certificate and its key belong together; only one was given", address)
	}
	return nil
}

func (t TLS) options() []client.ClientOpt {
	if t == (TLS{}) {
		return nil
	}
	opts := []client.ClientOpt{client.WithServerConfig(t.ServerName, t.CA)}
	if t.CA == "" {
		opts[0] = client.WithServerConfigSystem(t.ServerName)
	}
	if t.Cert != "" {
		opts = append(opts, client.WithCredentials(t.Cert, t.Key))
	}
	return opts
}

// unreachable explains why a daemon does not answer.
func unreachable(address string, err error) error {
	scheme, _, _ := strings.Cut(address, ":")
	hint := map[string]string{
		"unix":             "start buildkitd, or say where it listens (--engine, BUILDKIT_HOST); its socket may be for root or a group only",
		"tcp":              "see that buildkitd listens there and whether it wants TLS (certificates)",
		"docker-container": "see \"docker ps\" for the container; the program docker must be installed",
		"kube-pod":         "see \"kubectl get pods\" for the pod and its namespace; the program kubectl must be installed",
	}[scheme]
	if _, reason, ok := strings.Cut(err.Error(), "Error while dialing: "); ok { // gRPC's own words around it
		err = errors.New(strings.TrimSuffix(reason, `"`))
	}
	return fmt.Errorf("reaching the BuildKit daemon at %s: %w (%s)", address, err, hint)
}

func platformName(p ocispecs.Platform) string {
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}
