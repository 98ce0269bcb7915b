package build

import (
	"testing"
	"time"
)

// printEnv prints what the program of the script was started with.
const printEnv = `
	while IFS= read -r -d '' v; do echo "$v"; done </proc/$$/environ >env
`

// TestSection3Environment pins all that a script sees, in its order (7.2), and
// that Pkgfile's variables and build arguments are for templates only.
func TestSection3Environment(t *testing.T) {
	t.Parallel()
	s := open(t, "-- Pkgfile --\nformat: v1alpha2\nvars: {CFLAGS: -O3, OWN: x}\n"+script("p", "echo '{{ .CFLAGS }} {{ .OWN }} {{ .ARCH }} {{ .BUILD_ARG_TAG }}' >template"+printEnv))
	s.args["TAG"] = "v1"
	s.want("p", `
env -rw-r--r-- ARCH=x86_64
    BUILD=x86_64-linux-musl
    CFLAGS=-O2 -g0 -march=x86-64-v2 -mtune=generic
    CXXFLAGS=-O2 -g0 -march=x86-64-v2 -mtune=generic
    HOME=/root
    HOST=x86_64-linux-musl
    LDFLAGS=-s
    PATH=/bin:/usr/bin:/sbin:/usr/sbin
    PKG_NAME=p
    SOURCE_DATE_EPOCH=0
    SYSROOT=/talos
    TARGET=x86_64-talos-linux-musl
    VENDOR=talos
template -rw-r--r-- -O3 x x86_64 v1
`)
}

// TestSection3Epoch has scripts see SOURCE_DATE_EPOCH, and depend on it.
func TestSection3Epoch(t *testing.T) {
	t.Parallel()
	s := open(t, script("p", "echo $SOURCE_DATE_EPOCH >f"))
	s.plan.Epoch = time.Unix(1700000000, 0)
	s.want("p", "f -rw-r--r-- 1700000000")
	s.plan.Epoch = time.Unix(1700000001, 0)
	s.want("p", "f -rw-r--r-- 1700000001")
}

// TestSection3Proxy gives proxies to commands, and keeps them out of the key.
func TestSection3Proxy(t *testing.T) {
	t.Parallel()
	s := open(t, script("p", "echo $http_proxy $HTTP_PROXY >f"))
	s.plan.ProxyEnv = []string{"http_proxy=http://one", "HTTP_PROXY=http://one"}
	s.want("p", "f -rw-r--r-- http://one http://one")
	s.plan.ProxyEnv = []string{"http_proxy=http://two"}
	s.want("p", "f -rw-r--r-- http://one http://one")
	s.wantRan()
}

// TestSection3Templates has no variables of steps in templates, and undefined
// ones printed as bldr does.
func TestSection3Templates(t *testing.T) {
	t.Parallel()
	s := open(t, pkg("p", `steps:
  - env: {STEP: in-step}
    install: ['echo "$STEP {{ .STEP }} ${OWN-unset} {{ .OWN }} {{ .MISSING }}" >/f']
finalize: [{from: /f, to: /f}]
`)+"-- p/vars.yaml --\nOWN: own\n")
	s.want("p", "f -rw-r--r-- in-step <no value> unset own <no value>")
	s.wantWarning("p/pkg.yaml:7", "the variable MISSING is not defined")
}
