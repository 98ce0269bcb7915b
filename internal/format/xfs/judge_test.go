package xfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/format/sparse"
	"github.com/graftlinux/graft/internal/testkit"
)

// output returns what a program prints.
func output(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkRepair asks xfs_repair, which must not find anything to change, and
// xfs_db, which counts all blocks and complains of each mistake.
func checkRepair(t testing.TB, image string) {
	t.Helper()
	out := output(t, testkit.Judge(t, "xfs_repair"), "-n", "-f", image)
	for _, word := range []string{"would", "bad", "corrupt", "invalid", "unexpected", "wrong", "counted"} {
		if strings.Contains(strings.ToLower(out), word) {
			t.Errorf("xfs_repair says:\n%s", out)
			break
		}
	}
	if out := output(t, testkit.Judge(t, "xfs_db"), "-r", "-f", "-c", "blockget", image); out != "" {
		t.Errorf("xfs_db says:\n%s", out)
	}
}

func TestRepair(t *testing.T) {
	testkit.Judge(t, "xfs_repair")
	for i, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			checkRepair(t, imageFile(t, mustBuild(t, layoutOptions(i), boot())))
		})
	}
}

// Full to the last block, with a file in the pieces of all groups; without any
// file; with all inodes in use.
func TestRepairOfExtremes(t *testing.T) {
	testkit.Judge(t, "xfs_repair")
	full := []File{{Path: "a", Content: sparse.New(53*1024*1024 + 632*1024)}}
	var many []File
	for i := range MaxFiles - 100 {
		many = append(many, File{Path: fmt.Sprintf("%d/%d", i%100, i)})
	}
	for name, files := range map[string][]File{"full": full, "empty": nil, "many": many} {
		t.Run(name, func(t *testing.T) {
			checkRepair(t, imageFile(t, mustBuild(t, options(minSize), files)))
		})
	}
}

// Directories of every number of names: the form changes at some of them.
func TestRepairOfDirectories(t *testing.T) {
	testkit.NotUnderRace(t)
	testkit.Judge(t, "xfs_repair")
	for format, counts := range map[string][]int{
		"%d":             {300, 400, 460, 480},
		"%03d.mod":       {300, 400, 460, 480},
		"a-longer-%d.mo": {200, 220, 240, 300},
		"%0200d":         {200, 300, 400, 450},
	} {
		for i := range 150 {
			counts = append(counts, i)
		}
		var files []File
		for _, n := range counts {
			for i := range n {
				files = append(files, File{Path: fmt.Sprintf("d%d/"+format, n, i)})
			}
		}
		checkRepair(t, imageFile(t, mustBuild(t, options(minSize), files)))
	}
}

// xfs_db shows the root with the types and hashes of the names.
func TestDebuggerListing(t *testing.T) {
	db := testkit.Judge(t, "xfs_db")
	got := output(t, db, "-r", "-f", "-c", "ls /", imageFile(t, mustBuild(t, options(minSize), boot()[:5])))
	want := `/:
8          64                 directory      0x0000002e   1 . (good)
10         64                 directory      0x0000172e   2 .. (good)
12         67                 directory      0x00000041   1 A (good)
14         70                 directory      0x00000042   1 B (good)
16         71                 regular        0x5dbc3a7f   5 empty (good)
19         72                 directory      0x0cfcbae2   4 grub (good)
`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wanted (-), got (+):\n%s", d)
	}
}

// GRUB's own driver reads every file.
func TestGRUB(t *testing.T) {
	testkit.NotUnderRace(t)
	fstest := testkit.Judge(t, "grub-fstest")
	for i, l := range layouts {
		if !l.long {
			continue
		}
		t.Run(l.name, func(t *testing.T) {
			files := boot()
			image := imageFile(t, mustBuild(t, layoutOptions(i), files))
			for i, f := range files {
				if f.Content == nil || i > 40 && i%40 > 0 { // each file starts a program
					continue
				}
				want, err := io.ReadAll(f.Content.Reader())
				if err != nil {
					t.Fatal(err)
				}
				got := output(t, fstest, image, "cat", "(loop0)/"+f.Path)
				if !bytes.Equal([]byte(got), want) {
					t.Errorf("%s: GRUB read other bytes", f.Path)
				}
			}
			names := output(t, fstest, image, "ls", "(loop0)/grub/i386-pc/")
			if n := len(strings.Fields(names)); n != 290 {
				t.Errorf("GRUB lists %d modules, want 290:\n%s", n, names)
			}
		})
	}
}

// foreign are ways in which others make file systems.
var foreign = []struct{ name, args string }{
	{"defaults", ""},
	{"plain", "-m finobt=0,reflink=0,bigtime=0,inobtcount=0 -i sparse=0"},
	{"all", "-m rmapbt=1,reflink=1 -i nrext64=1"},
	{"1K blocks", "-b size=1024"},
	{"large directory blocks", "-n size=16384"},
	{"4K sectors, 2K inodes", "-s size=4096 -i size=2048"},
}

func mkfs(t testing.TB, args ...string) string {
	t.Helper()
	program := testkit.Judge(t, "mkfs.xfs")
	image := filepath.Join(t.TempDir(), "foreign.img")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(320 << 20); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	output(t, program, append(args, "-q", "-L", "BOOT", image)...)
	return image
}

// mkfs.xfs puts files into a new file system, as Talos has it do; the Reader
// finds them again.
func TestReadingWhatMkfsMade(t *testing.T) {
	testkit.NotUnderRace(t)
	for _, v := range foreign {
		t.Run(v.name, func(t *testing.T) {
			files := boot()
			files[2].Mode = fs.ModeDir | 0o700 // without what the language does not know
			image := mkfs(t, append(strings.Fields(v.args), "-p", protofile(t, files))...)
			got := readListing(t, image)
			want := wantListing(t, files)
			if d := cmp.Diff(withoutTimes(want), withoutTimes(got)); d != "" {
				t.Errorf("what mkfs was told to write (-) and the Reader found (+):\n%s", d)
			}
		})
	}
}

func readListing(t testing.TB, image string) []string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r := mustRead(t, f, info.Size())
	if label := r.Info().Label; label != "BOOT" {
		t.Errorf("got the label %q, want BOOT", label)
	}
	lines, err := listAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// withoutTimes: mkfs.xfs sets those of now.
func withoutTimes(lines []string) []string {
	var short []string
	for _, l := range lines {
		words := strings.Fields(l)
		short = append(short, strings.Join(append(words[:len(words)-2], words[len(words)-1]), " "))
	}
	return short
}

// protofile describes files in the language of mkfs.xfs -p.
func protofile(t testing.TB, files []File) string {
	t.Helper()
	root, err := newTree(files, testTime)
	if err != nil {
		t.Fatal(err)
	}
	root.list() // sorts
	dir := t.TempDir()
	p := &proto{dir: dir}
	p.WriteString("none\n0 0\n")
	p.add(t, root)
	name := filepath.Join(dir, "proto")
	if err := os.WriteFile(name, p.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

type proto struct {
	bytes.Buffer
	dir   string
	count int
}

func (p *proto) add(t testing.TB, n *node) {
	t.Helper()
	if n.path != "." {
		fmt.Fprintf(p, "%s ", n.name())
	}
	if n.content != nil {
		p.count++
		source := filepath.Join(p.dir, fmt.Sprint(p.count))
		data, err := io.ReadAll(n.content.Reader())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(source, data, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(p, "---%03o 0 0 %s\n", n.mode.Perm(), source)
		return
	}
	fmt.Fprintf(p, "d--%03o 0 0\n", n.mode.Perm())
	for _, c := range n.children {
		p.add(t, c)
	}
	fmt.Fprintln(p, "$")
}
