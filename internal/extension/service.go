package extension

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Places of an extension's services, relative to the root.
const (
	// ServiceDir holds the service specifications: Talos reads *.yaml.
	ServiceDir = "usr/local/etc/containers"
	// ContainerDir holds a directory per service, the root of its container.
	ContainerDir = "usr/local/lib/containers"
	// MaxServiceSize bounds a specification: real ones have less than 4 KiB.
	MaxServiceSize = 256 << 10
)

// Service is the specification of an extension service: a container that Talos
// runs beside its own services. Its id on the node is "ext-" and the name.
type Service struct {
	Name         string       `yaml:"name"`
	Container    Container    `yaml:"container"`
	Depends      []Dependency `yaml:"depends"`
	Restart      string       `yaml:"restart"`
	LogToConsole bool         `yaml:"logToConsole"`
}

// Container says what a service runs.
type Container struct {
	Entrypoint      string   `yaml:"entrypoint"`
	Environment     []string `yaml:"environment"`
	EnvironmentFile string   `yaml:"environmentFile"`
	Args            []string `yaml:"args"`
	Mounts          []Mount  `yaml:"mounts"`
	Security        Security `yaml:"security"`
}

// Mount is a mount of the OCI runtime specification.
type Mount struct {
	Source      string   `yaml:"source"`
	Destination string   `yaml:"destination"`
	Type        string   `yaml:"type"`
	Options     []string `yaml:"options"`
}

// Security loosens the confinement of a container.
type Security struct {
	WriteableSysfs    bool     `yaml:"writeableSysfs"`
	MaskedPaths       []string `yaml:"maskedPaths"`
	ReadonlyPaths     []string `yaml:"readonlyPaths"`
	WriteableRootfs   bool     `yaml:"writeableRootfs"`
	RootfsPropagation string   `yaml:"rootfsPropagation"`
}

// Dependency is one thing that a service waits for: exactly one field is set.
type Dependency struct {
	Service       string   `yaml:"service"`
	Path          string   `yaml:"path"`
	Network       []string `yaml:"network"`
	Time          bool     `yaml:"time"`
	Configuration bool     `yaml:"configuration"`
}

// Words of a service specification.
var (
	restartWords = []string{"always", "never", "untilSuccess"}
	networkWords = []string{"addresses", "connectivity", "hostname", "etcfiles"}
)

// ParseService reads a service specification. Keys that Talos does not know
// are an error there, and so they are here.
func ParseService(data []byte) (Service, error) {
	var s Service
	if len(data) > MaxServiceSize {
		return s, fmt.Errorf("parsing the service: %d bytes, more than the %d that are allowed", len(data), MaxServiceSize)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	err := dec.Decode(&s)
	if errors.Is(err, io.EOF) {
		err = errEmpty
	}
	if err != nil {
		return s, fmt.Errorf("parsing the service: %w", yamlError(err))
	}
	return s, nil
}

// Problems lists everything for which Talos would refuse the service.
func (s Service) Problems() []string {
	var found []string
	if !validServiceName(s.Name) {
		found = append(found, fmt.Sprintf("name %q is not made of a-z, 0-9, - and _ only", s.Name))
	}
	if s.Container.Entrypoint == "" {
		found = append(found, "container.entrypoint is missing")
	}
	if !slices.Contains(restartWords, s.Restart) {
		found = append(found, fmt.Sprintf("restart %q is none of %s", s.Restart, strings.Join(restartWords, ", ")))
	}
	for i, d := range s.Depends {
		if p := d.problem(); p != "" {
			found = append(found, fmt.Sprintf("depends[%d]: %s", i, p))
		}
	}
	return found
}

func validServiceName(name string) bool {
	for _, c := range []byte(name) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return name != ""
}

func (d Dependency) problem() string {
	set := 0
	for _, is := range []bool{d.Service != "", d.Path != "", len(d.Network) > 0, d.Time, d.Configuration} {
		if is {
			set++
		}
	}
	if set != 1 {
		return fmt.Sprintf("%d of service, path, network, time and configuration are set, wanted is exactly one", set)
	}
	if d.Path != "" && !path.IsAbs(d.Path) {
		return fmt.Sprintf("path %q is not absolute", d.Path)
	}
	for _, n := range d.Network {
		if !slices.Contains(networkWords, n) {
			return fmt.Sprintf("network %q is none of %s", n, strings.Join(networkWords, ", "))
		}
	}
	return ""
}
