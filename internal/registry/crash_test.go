package registry

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// serveVariable makes this test binary a server of the directory that it names.
const serveVariable = "GRAFT_TEST_REGISTRY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveVariable); dir != "" {
		os.Exit(serveProcess(dir))
	}
	os.Exit(m.Run())
}

func serveProcess(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := New(dir, Options{Report: func(r Request) {
		if r.Err != nil {
			fmt.Fprintln(os.Stderr, r.Method, r.Path, r.Err)
		}
	}})
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println(l.Addr())
			err = s.Serve(ctx, l)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a server that can be killed.
type process struct {
	*exec.Cmd
	url    string
	stderr bytes.Buffer
}

func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(self)}
	p.Env = append(os.Environ(), serveVariable+"="+dir)
	p.Cmd.Stderr = &p.stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // has ended, if all went well
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v\n%s", err, &p.stderr)
	}
	p.url = "http://" + strings.TrimSpace(line)
	return p
}

// end sends a signal and waits.
func (p *process) end(t *testing.T, sig syscall.Signal) error {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := p.Wait()
	if p.stderr.Len() > 0 {
		t.Errorf("the server said:\n%s", &p.stderr)
	}
	return err
}

// promises are what servers acknowledged: paths, and the contents that they must
// give for ever. A tag that is moved while a server is killed may be the one or
// the other, so each tag is pushed once.
type promises struct {
	sync.Mutex
	content map[string][]byte
}

func (p *promises) add(path string, data []byte) {
	p.Lock()
	defer p.Unlock()
	p.content[path] = data
}

func (p *promises) count() int {
	p.Lock()
	defer p.Unlock()
	return len(p.content)
}

// some returns one of the promises.
func (p *promises) some() (path string, data []byte) {
	p.Lock()
	defer p.Unlock()
	for path, data = range p.content {
		break
	}
	return path, data
}

// TestKill pushes and pulls in a hundred goroutines, kills the server, starts
// another one, several times over. Whatever was acknowledged must then be there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	kept := &promises{content: map[string][]byte{}}
	for round := range 5 {
		p := startProcess(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		var wrong atomic.Pointer[string]
		for worker := range 100 {
			all.Go(func() {
				c := &client{T: t, base: p.url, repo: fmt.Sprintf("kill/r%d", worker%10)}
				for n := 0; ctx.Err() == nil; n++ {
					if worker%3 == 0 {
						c.pullPromise(kept, &wrong)
					} else {
						c.pushPromises(kept, fmt.Sprintf("%d-%d-%d", round, worker, n))
					}
				}
			})
		}
		for enough := kept.count() + 30 + rand.IntN(60); kept.count() < enough; {
			time.Sleep(time.Millisecond)
		}
		if _, err := Collect(ctx, dir, CollectOptions{Before: time.Now().Add(-time.Minute), Untagged: true}); err != nil {
			t.Error(err)
		}
		time.Sleep(rand.N(50 * time.Millisecond))
		if err := p.end(t, syscall.SIGKILL); err == nil {
			t.Error("the server ended well, though it was killed")
		}
		cancel()
		all.Wait()
		if w := wrong.Load(); w != nil {
			t.Fatal(*w)
		}
	}
	p := startProcess(t, dir)
	c := &client{T: t, base: p.url}
	for path, want := range kept.content {
		c.wantContent(path, want)
	}
	t.Logf("%d promises were kept", len(kept.content))
	if err := p.end(t, syscall.SIGTERM); err != nil {
		t.Errorf("the server did not end well: %v", err)
	}
	checkStore(t, dir)
}

// pushPromises pushes an image as far as the server lives.
func (c *client) pushPromises(kept *promises, name string) {
	var parts []v1.Descriptor
	for i, size := range []int{200, 1 << (10 + rand.IntN(8))} {
		data := bytes.Repeat([]byte(name), size/len(name)+i)
		if i == 1 && rand.IntN(4) == 0 {
			data = []byte("a layer that several have")
		}
		d := digest.FromBytes(data)
		start, err := c.try("POST", "blobs/uploads/", nil)
		if err != nil || start.StatusCode != 202 {
			return
		}
		half := len(data) / 2
		location := c.base + start.Header.Get("Location")
		if r, err := c.try("PATCH", location, data[:half]); err != nil || r.StatusCode != 202 {
			return
		}
		done, err := c.try("PUT", withDigest(location, d), data[half:])
		if err != nil || done.StatusCode != 201 {
			return
		}
		kept.add("/v2/"+c.repo+"/blobs/"+string(d), data)
		parts = append(parts, v1.Descriptor{MediaType: v1.MediaTypeImageLayer, Digest: d, Size: int64(len(data))})
	}
	m := marshal(c, v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: parts[0], Layers: parts[1:]})
	r, err := c.try("PUT", "manifests/"+name, m, "Content-Type", v1.MediaTypeImageManifest)
	if err == nil && r.StatusCode == 201 {
		kept.add("/v2/"+c.repo+"/manifests/"+name, m)
	}
}

// pullPromise asks for something that was promised.
func (c *client) pullPromise(kept *promises, wrong *atomic.Pointer[string]) {
	path, want := kept.some()
	if path == "" {
		return
	}
	r, err := c.try("GET", path, nil)
	if err == nil && (r.StatusCode != 200 || !bytes.Equal(r.body, want)) {
		text := fmt.Sprintf("GET %s: %s, %d bytes, want %d", path, r.Status, len(r.body), len(want))
		wrong.Store(&text)
	}
}

// checkStore says whether all contents are what their names say, and whether all
// repositories have what their manifests need.
func checkStore(t *testing.T, dir string) {
	t.Helper()
	st, err := existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer st.close()
	names, err := st.repositories()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		r := st.repo(name)
		needed, err := r.needed()
		if err != nil {
			t.Fatal(err)
		}
		for d, by := range needed {
			data, err := os.ReadFile(r.blobPath(d))
			if err != nil || d.Algorithm().FromBytes(data) != d {
				t.Errorf("%s: %s, which %s needs, is damaged: %d bytes, %v", name, d, by, len(data), err)
			}
		}
	}
}

// TestResumeAfterKill goes on with an upload on another server.
func TestResumeAfterKill(t *testing.T) {
	dir := t.TempDir()
	data := bytes.Repeat([]byte("resumed"), 100_000)
	p := startProcess(t, dir)
	c := &client{T: t, base: p.url, repo: "resumed"}
	start := c.want(202, "POST", "blobs/uploads/", nil)
	c.want(202, "PATCH", c.location(start), data[:400_000], "Content-Range", "0-399999")
	_ = p.end(t, syscall.SIGKILL)

	p = startProcess(t, dir)
	c.base = p.url
	location := c.base + start.Header.Get("Location")
	status := c.want(204, "GET", location, nil)
	if got := status.Header.Get("Range"); got != "0-399999" {
		t.Fatalf("got the range %q, want 0-399999", got)
	}
	c.want(201, "PUT", withDigest(location, digest.FromBytes(data)), data[400_000:], "Content-Range", "400000-699999")
	c.wantContent("blobs/"+string(digest.FromBytes(data)), data)
	if err := p.end(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
