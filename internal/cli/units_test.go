package cli

import "testing"

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "0": 0, "500": 500, "500B": 500, "64K": 64 << 10, "64k": 64 << 10, "10Mi": 10 << 20, "10MiB": 10 << 20, "2G": 2 << 30, "1TiB": 1 << 40,
		"64kB": 64e3, "10MB": 10e6, "2GB": 2e9, "1TB": 1e12,
		"B": -1, "K": -1, "1.5G": -1, "-1": -1, "1 G": -1, "1PB": -1, "1iB": -1, "4194305T": -1, "99999999999999999999": -1,
	} {
		got, err := parseSize(s)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
}

func TestParseDiskSize(t *testing.T) {
	for s, want := range map[string]int64{"": 0, "4096": 4096, "2GiB": 2 << 30, "2gi": 2 << 30, "2GB": 2e9} {
		if got, err := parseDiskSize(s); got != want || err != nil {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	const want = `"2g" can be 2giB or 2gB, which is less: say which`
	if _, err := parseDiskSize("2g"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestPrintable keeps what changes the look of a line off the terminal.
func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"gVisor, ein Kern für Behälter — 容器":                "gVisor, ein Kern für Behälter — 容器",
		"a\x1b[31mb\r\n\tc\x7f\u009b":                       "a?[31mb???c??",
		"a\u202etxt.exe\u202c":                              "a?txt.exe?", // right to left
		"\u2066x\u2069\u200b\u200e\ufeff\u2028\u2029\u00ad": "?x???????",
		"\U000e0041": "?", // a tag, which nobody sees
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}
