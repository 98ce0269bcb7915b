package build

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/graftlinux/graft/internal/testkit/buildkitd"
)

// TestSame pins a result that has all in it that could differ from machine to
// machine, from user to user, from one checkout to another, from one day to the
// next. TestAsOrdinaryUser makes it, too.
func TestSame(t *testing.T) {
	t.Parallel()
	open(t, sameRecipe).want("p", sameResult)
}

// TestSameCopied makes it where layers cannot be stacked.
func TestSameCopied(t *testing.T) {
	t.Parallel()
	s := open(t, sameRecipe)
	s.engine.Copy = true
	s.want("p", sameResult)
}

var sameRecipe = script("p", `cp -a /pkg pkg; rm pkg/pkg.yaml; ln pkg/f hard; ln -s f soft; touch -d @12345 pkg/f; mkfifo fifo
chown 1:2 pkg/f; chown -h 3:4 soft; mkdir closed; echo x >closed/f; chmod 0 closed/f closed; echo x >setgid; chmod 2711 setgid
cat /etc/hosts /etc/resolv.conf /proc/sys/kernel/hostname /proc/sys/kernel/domainname >machine
echo $$ $PPID $SHLVL ~ $(id -u) $(id -g) $(umask) $- >shell; cat >stdin
ls -a / /tmp >places; stat -c '%n %a %u:%g %Y' /pkg /pkg/* >stat
for fd in /proc/self/fd/*; do echo ${fd##*/}; done >fds; for l in c d f l m s t v x; do ulimit -$l; done >limits`) + "-- p/f 0640 --\nf\n-- p/d/x 0775 --\nx\n"

const sameResult = `
closed d---------
closed/f ---------- x
fds -rw-r--r-- 0
    1
    10
    2
    3
fifo prw-r--r--
hard -rw-r--r-- f
limits -rw-r--r-- 0
    unlimited
    unlimited
    64
    unlimited
    8192
    unlimited
    unlimited
    unlimited
machine -rw-r--r-- 127.0.0.1	localhost buildkitsandbox
    ::1	localhost ip6-localhost ip6-loopback
    buildkitsandbox
    (none)
pkg drwxr-xr-x
pkg/d drwxr-xr-x
pkg/d/x -rwxr-xr-x x
pkg/f = hard
places -rw-r--r-- /:
    .
    ..
    bin
    dev
    etc
    lib
    lib64
    out
    pkg
    proc
    sys
    tmp
    
    /tmp:
    .
    ..
    build
setgid grwx--x--x x
shell -rw-r--r-- 100 1 1 /root 0 0 0022 ehuBc
soft -> f
stat -rw-r--r-- /pkg 755 0:0 315619200
    /pkg/d 755 0:0 315619200
    /pkg/f 644 0:0 315619200
    /pkg/pkg.yaml 644 0:0 315619200
stdin -rw-r--r--
`

// TestAsOrdinaryUser runs tests in which the user could make a difference once
// more, as one who is not root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 || !manyUsers(t) {
		t.Skip("this is no root, who can become others")
	}
	if testing.Short() {
		t.Skip("it runs half of the tests again")
	}
	t.Parallel()
	dir := t.TempDir()
	self := filepath.Join(dir, "self.test") // a directory of go test's is closed to others
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 65534, 65534), copySelf(self)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	again(t, cmd, "TestSame|TestSection[57]|TestOddNames|TestExtension|TestFault")
}

// TestOnBuildKit runs tests of what is in results once more, on the other engine.
func TestOnBuildKit(t *testing.T) {
	if os.Getenv(engineEnv) != "" {
		t.Skip("this is that run")
	}
	if testing.Short() {
		t.Skip("it takes longer than all other tests")
	}
	address := buildkitd.Start(t)
	t.Parallel()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), engineEnv+"="+address)
	again(t, cmd, "^(TestSection(5(Order|Stacking|Copy|Owners)|6(Context|Times)|7(Install|Alpine|Env|Order|Test|Finalize|SBOM|Sources)|8(DependencyPlatform|BuildPlatform))|TestOddNames|TestExtension|TestModuleSource)$")
}

// again runs tests in another process.
func again(t *testing.T, cmd *exec.Cmd, tests string) {
	t.Helper()
	cmd.Args = append(cmd.Args, "-test.v", "-test.run="+tests)
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("no tests to run")) {
		t.Errorf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "--- SKIP") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// copySelf copies this test.
func copySelf(to string) error {
	in, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
