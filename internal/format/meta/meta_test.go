package meta

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	talos "github.com/siderolabs/talos/pkg/machinery/meta"
)

func encode(t *testing.T, values ...Value) []byte {
	t.Helper()
	m, err := Encode(values)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(m.Reader())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(b []byte) ([]Value, error) { return Decode(bytes.NewReader(b), int64(len(b))) }

// The bytes of a block, told from Talos' description of the format and not by
// the code under test.
func TestLayout(t *testing.T) {
	b := encode(t, Value{UserReserved1, "later"}, Value{MetalNetworkPlatformConfig, "net"}, Value{UserReserved1, "last"})
	if len(b) != 512<<10 {
		t.Fatalf("%d bytes", len(b))
	}
	block := b[:256<<10]
	if !bytes.Equal(block, b[256<<10:]) {
		t.Error("the two blocks differ")
	}
	want := "5a4b3c2d" + "0000000a" + "00000003" + hex.EncodeToString([]byte("net")) +
		"0000000c" + "00000004" + hex.EncodeToString([]byte("last")) + "00000000"
	if got := hex.EncodeToString(block[:len(want)/2]); got != want {
		t.Errorf("the beginning:\ngot  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(block[len(block)-4:]); got != "a5b4c3d2" {
		t.Errorf("the end: %s", got)
	}
	zeroed := bytes.Clone(block)
	clear(zeroed[len(block)-0x24 : len(block)-4])
	if sum := sha256.Sum256(zeroed); !bytes.Equal(sum[:], block[len(block)-0x24:len(block)-4]) {
		t.Error("the checksum is not that of the block with the checksum zeroed")
	}
	if rest := block[len(want)/2 : len(block)-0x24]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("there is something between the values and the checksum")
	}
}

func TestRoundTrip(t *testing.T) {
	for _, values := range [][]Value{
		nil,
		{{Upgrade, ""}},
		{{1, "one"}, {DiskImageBootloader, "dual-boot"}, {255, "\x00;=\n"}},
		{{2, strings.Repeat("x", maxInner-header)}},
		{{2, strings.Repeat("x", maxInner-2*header)}, {3, ""}},
		{{2, strings.Repeat("x", maxInner-header-1)}},
	} {
		got, err := decode(encode(t, values...))
		if err != nil || !cmp.Equal(got, values) {
			t.Errorf("got %.60v (%v), want %.60v", got, err, values)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for want, values := range map[string][]Value{
		"the key 0 marks the end": {{0, "x"}},
		"larger than a block":     {{2, strings.Repeat("x", maxInner-header)}, {3, ""}},
	} {
		if _, err := Encode(values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A block may be damaged anywhere: the other one has the values.
func TestDamage(t *testing.T) {
	values := []Value{{Upgrade, "A"}, {UUIDOverride, "0b2c"}}
	good := encode(t, values...)
	for _, at := range []int{0, 3, 4, 7, 9, 12, 20, 5000, sumAt - 1, sumAt, blockSize - 5, blockSize - 4, blockSize - 1} {
		for _, block := range []int{0, blockSize} {
			b := bytes.Clone(good)
			b[block+at] ^= 0x40
			if got, err := decode(b); err != nil || !cmp.Equal(got, values) {
				t.Errorf("byte %d of the block at %d: got %v, %v", at, block, got, err)
			}
		}
		b := bytes.Clone(good)
		b[at] ^= 0x40
		b[blockSize+at] ^= 0x40
		if got, err := decode(b); err == nil {
			t.Errorf("byte %d of both blocks: got %v and no error", at, got)
		}
	}
}

// reseal gives a block with other contents a good checksum.
func reseal(block []byte) {
	clear(block[sumAt : blockSize-4])
	sum := sha256.Sum256(block)
	copy(block[sumAt:], sum[:])
}

func TestHostile(t *testing.T) {
	for want, inner := range map[string]string{
		"the tag 0x100 is larger than a byte":                                  "\x00\x00\x01\x00\x00\x00\x00\x01a",
		"the value of Upgrade has 4294967295 bytes, more than are left":        "\x00\x00\x00\x06\xff\xff\xff\xffa",
		"the value of 0x2a has 262097 bytes, more than are left":               "\x00\x00\x00\x2a\x00\x03\xff\xd1a",
		"the value of UserReserved1 has 2147483648 bytes, more than are left;": "\x00\x00\x00\x0c\x80\x00\x00\x00",
	} {
		b := encode(t)
		for _, at := range []int{0, blockSize} {
			copy(b[at+4:], inner)
			reseal(b[at : at+blockSize])
		}
		if _, err := decode(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, size := range []int{0, 1, blockSize, Size - 1} {
		if _, err := decode(make([]byte, size)); err == nil || !strings.Contains(err.Error(), "too few") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if _, err := decode(make([]byte, 1<<20)); err == nil || !strings.Contains(err.Error(), "it begins with 0x00000000 and not with 0x5a4b3c2d") {
		t.Errorf("zeros: %v", err)
	}
}

func TestParseValue(t *testing.T) {
	for s, want := range map[string]Value{
		"10=foo":                         {MetalNetworkPlatformConfig, "foo"},
		"0xa=foo=bar":                    {MetalNetworkPlatformConfig, "foo=bar"},
		"0b110=":                         {Upgrade, ""},
		"MetalNetworkPlatformConfig=a;b": {MetalNetworkPlatformConfig, "a;b"},
		"255=\n":                         {255, "\n"},
	} {
		got, err := ParseValue(s)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "foo", "0=x", "256=x", "-1=x", "=x", "upgrade=x", "0xg=x"} {
		if v, err := ParseValue(s); err == nil {
			t.Errorf("%q: got %v and no error", s, v)
		}
	}
	if got := fmt.Sprint(Tag(0x2a), StagedUpgradeImageRef, Value{10, "x"}); got != "0x2a StagedUpgradeImageRef 0xa=x" {
		t.Errorf("got %s", got)
	}
}

// Talos' own library is the judge of the form for the environment.
func TestEnvAgainstTalos(t *testing.T) {
	for _, values := range [][]Value{
		nil,
		{{10, "foo"}, {11, "bar"}},
		{{10, strings.Repeat("x", 256-len("0xa="))}},
		{{10, strings.Repeat("x", 257-len("0xa="))}},
		{{10, strings.Repeat("foobar", 256)}, {11, strings.Repeat("baz\n", 256)}},
	} {
		var theirs talos.Values
		for _, v := range values {
			theirs = append(theirs, talos.Value{Key: uint8(v.Key), Value: v.Value})
		}
		for _, compress := range []bool{false, true} {
			got, err := EncodeEnv(values, compress)
			if want := theirs.Encode(compress); err != nil || got != want {
				t.Errorf("got %s (%v), want %s", got, err, want)
			}
			if back, err := talos.DecodeValues(got); err != nil || !cmp.Equal(back, theirs) {
				t.Errorf("decoded by Talos: got %v, %v", back, err)
			}
		}
	}
	for tag, name := range tagNames {
		theirs := map[string]int{
			"Upgrade": talos.Upgrade, "StagedUpgradeImageRef": talos.StagedUpgradeImageRef,
			"StagedUpgradeInstallOptions": talos.StagedUpgradeInstallOptions, "StateEncryptionConfig": talos.StateEncryptionConfig,
			"MetalNetworkPlatformConfig": talos.MetalNetworkPlatformConfig, "DownloadURLCode": talos.DownloadURLCode,
			"UserReserved1": talos.UserReserved1, "UserReserved2": talos.UserReserved2, "UserReserved3": talos.UserReserved3,
			"UUIDOverride": talos.UUIDOverride, "UniqueMachineToken": talos.UniqueMachineToken, "DiskImageBootloader": talos.DiskImageBootloader,
		}
		if theirs[name] != int(tag) {
			t.Errorf("%s is %d, in Talos %d", name, tag, theirs[name])
		}
	}
}

func TestEnvRefuses(t *testing.T) {
	if _, err := EncodeEnv([]Value{{10, "a;b"}}, true); err == nil || !strings.Contains(err.Error(), "the value of MetalNetworkPlatformConfig has a semicolon") {
		t.Errorf("got %v", err)
	}
}

func TestSameBytes(t *testing.T) {
	values := []Value{{9, "a"}, {8, "b"}, {200, "c"}, {7, "d"}}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := encode(t, values...)
	runtime.GOMAXPROCS(2)
	if !bytes.Equal(one, encode(t, values...)) {
		t.Error("the bytes depend on the number of processors")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x0a\x00\x00\x00\x01a\x00\x00\x00\x0a\x00\x00\x00\x01b"))
	f.Add([]byte("\x00\x00\x00\x0a\xff\xff\xff\xf0"))
	f.Fuzz(func(t *testing.T, inner []byte) {
		values, err := decodeInner(inner[:min(len(inner), maxInner)])
		if err != nil {
			return
		}
		m, err := Encode(values)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Decode(m, m.Size()); err != nil || !cmp.Equal(again, values) {
			t.Fatalf("got %v, %v; want %v", again, err, values)
		}
	})
}

// FuzzEncodeEnv: Talos reads what is written.
func FuzzEncodeEnv(f *testing.F) {
	f.Add(uint8(10), "foo", true)
	f.Add(uint8(0), strings.Repeat("x", gzipFrom), true)
	f.Fuzz(func(t *testing.T, key uint8, value string, compress bool) {
		got, err := EncodeEnv([]Value{{Tag(key), value}}, compress)
		if err != nil {
			return
		}
		want := talos.Values{{Key: key, Value: value}}
		if back, err := talos.DecodeValues(got); err != nil || !cmp.Equal(back, want) {
			t.Fatalf("got %v, %v; want %v", back, err, want)
		}
	})
}
