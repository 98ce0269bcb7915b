package gpt

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graftlinux/graft/internal/testkit"
)

// judge runs a program that is not ours, and skips the test without it.
func judge(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(testkit.Judge(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestSgdisk(t *testing.T) {
	d := talosDisk(512)
	disk := file(t, d)
	if out := judge(t, "sgdisk", "-v", disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	// The last part of "sgdisk -p": number, start, end, size, code, name.
	_, out, _ := strings.Cut(judge(t, "sgdisk", "-p", disk), "Number ")
	want := []string{
		"1 2048 6143 2.0 MiB EF00 EFI",
		"2 6144 8191 1024.0 KiB EF02 BIOS",
		"3 8192 14343 3.0 MiB 8300 BOOT",
		"4 16384 18431 1024.0 KiB 8300 META",
	}
	if diff := cmp.Diff(want, fieldLines(out)[1:]); diff != "" {
		t.Errorf("want (-), sgdisk -p says (+):\n%s", diff)
	}
	if out := judge(t, "sgdisk", "-i", "2", disk); !strings.Contains(out, d.Partitions[1].GUID.String()) ||
		!strings.Contains(out, "Attribute flags: 0000000000000004") {
		t.Errorf("sgdisk -i 2:\n%s", out)
	}
}

// fieldLines are the lines of a table, with one space between the columns.
func fieldLines(s string) (lines []string) {
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) > 0 {
			lines = append(lines, strings.Join(f, " "))
		}
	}
	return lines
}

func TestSfdisk(t *testing.T) {
	disk := file(t, talosDisk(512))
	if out := judge(t, "sfdisk", "--verify", disk); !strings.Contains(out, "No errors detected.") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
	out := strings.ReplaceAll(judge(t, "sfdisk", "--dump", disk), disk, "disk")
	want := []string{
		"label: gpt",
		"label-id: " + DeterministicGUID("disk").String(),
		"device: disk",
		"unit: sectors",
		"first-lba: 34",
		"last-lba: 32734",
		"sector-size: 512",
		"disk1 : start= 2048, size= 4096, type=" + EFISystem.String() + ", uuid=" + DeterministicGUID("EFI").String() + `, name="EFI"`,
		"disk2 : start= 6144, size= 2048, type=" + BIOSBoot.String() + ", uuid=" + DeterministicGUID("BIOS").String() + `, name="BIOS", attrs="LegacyBIOSBootable"`,
		"disk3 : start= 8192, size= 6152, type=" + LinuxData.String() + ", uuid=" + DeterministicGUID("BOOT").String() + `, name="BOOT"`,
		"disk4 : start= 16384, size= 2048, type=" + LinuxData.String() + ", uuid=" + DeterministicGUID("META").String() + `, name="META"`,
	}
	if diff := cmp.Diff(want, fieldLines(out)); diff != "" {
		t.Errorf("want (-), sfdisk --dump says (+):\n%s", diff)
	}
}

// TestFdisk4096: fdisk believes what it is told about the size of sectors, and
// complains of tables that are not in order.
func TestFdisk4096(t *testing.T) {
	disk := file(t, talosDisk(4096))
	out := judge(t, "fdisk", "-b", "4096", "-o", "Start,End,Type,Name", "-l", disk)
	_, parts, _ := strings.Cut(out, "Start ")
	want := []string{
		"256 767 EFI System EFI",
		"768 1023 BIOS boot BIOS",
		"1024 1792 Linux filesystem BOOT",
		"2048 2303 Linux filesystem META",
	}
	if diff := cmp.Diff(want, fieldLines(parts)[1:]); diff != "" {
		t.Errorf("want (-), fdisk -l says (+):\n%s", diff)
	}
	for _, word := range []string{"corrupt", "mismatch", "invalid", "not "} {
		if strings.Contains(out, word) {
			t.Errorf("fdisk -l complains:\n%s", out)
		}
	}
}

// TestPartx: the library that udev asks (libblkid) finds the same partitions.
func TestPartx(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d := talosDisk(sector)
		var want []string
		for i, p := range []string{"EFI", "BIOS", "BOOT", "META"} {
			want = append(want, fmt.Sprintf("%d %s %s", i+1, strings.ToLower(d.Partitions[i].GUID.String()), p))
		}
		out := judge(t, "partx", "--show", "--noheadings", "--sector-size", fmt.Sprint(sector), "--output", "NR,UUID,NAME", file(t, d))
		if diff := cmp.Diff(want, fieldLines(out)); diff != "" {
			t.Errorf("want (-), partx says (+):\n%s", diff)
		}
	}
}

// TestForeign reads what another program wrote.
func TestForeign(t *testing.T) {
	disk := file(t, &Disk{GUID: DeterministicGUID("disk"), Size: 64 * mib})
	judge(t, "sgdisk", "-o", "-n", "1:0:+10M", "-t", "1:ef00", "-c", "1:EFI", "-n", "5:0:0", "-c", "5:ÄÖ", "-A", "5:set:2", disk)
	f, err := os.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Read(f, 64*mib)
	if err != nil || d.Damage != nil {
		t.Fatal(err, d.Damage)
	}
	var got []string
	for _, p := range d.Partitions {
		got = append(got, fmt.Sprint(p.Name, " ", p.Type, " ", p.Offset, " ", p.Size, " ", p.Attributes))
	}
	want := []string{
		"EFI C12A7328-F81F-11D2-BA4B-00A0C93EC93B 1048576 10485760 0",
		"ÄÖ 0FC63DAF-8483-4772-8E79-3D69D8477DE4 11534336 55557632 4",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}
