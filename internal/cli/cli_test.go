package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/oci"
)

// ran runs graft, and returns its exit code and conversation.
func ran(ctx context.Context, args ...string) (int, string) {
	var out, conversation bytes.Buffer
	code := Run(ctx, args, Streams{In: strings.NewReader(""), Out: &out, Err: &conversation})
	return code, conversation.String()
}

// TestWhoEndedIt wants only a command that was ended to say so.
func TestWhoEndedIt(t *testing.T) {
	ended, end := context.WithCancelCause(t.Context())
	end(errors.New("a signal"))
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want bool
	}{
		{t.Context(), fmt.Errorf("copying: %w", context.Canceled), false},
		{ended, fmt.Errorf("copying: %w", context.Canceled), true},
		{ended, fmt.Errorf("copying: %w", context.Cause(ended)), true},
		{ended, errors.New("another"), false},
	} {
		if got := interrupted(tt.ctx, tt.err); got != tt.want {
			t.Errorf("%v: got %v, want %v", tt.err, got, tt.want)
		}
	}
	if code := exitCode(inputError(context.Canceled)); code != exitUnknown {
		t.Errorf("got %d, want %d", code, exitUnknown)
	}
}

// TestUsageHint is for how a command was called, not for what it read.
func TestUsageHint(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{usageError(errors.New("--x")), true},
		{inputError(errors.New("its content has the digest")), false},
		{inputError(&oci.SparseError{Has: []string{"linux/amd64"}}), false},
	} {
		var b bytes.Buffer
		report(&b, newRoot(Streams{}), tt.err)
		if got := strings.Contains(b.String(), "shows how it is used"); got != tt.want {
			t.Errorf("got %s", b.String())
		}
	}
}

func TestSourceDateEpoch(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	dir := t.TempDir()
	for _, args := range [][]string{{"pack", dir, "-o", dir + "/x"}, {"sbom", dir}, {"sign", "--key", "x", dir}} {
		if code, conversation := ran(t.Context(), args...); code != exitInvalid || !strings.Contains(conversation, "SOURCE_DATE_EPOCH") {
			t.Errorf("%q: got code %d: %s", args, code, conversation)
		}
	}
}

// TestArguments are refused, and repeat no password.
func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"sign", "--key", "x", "-a", "foo=bar", "-a", "foo=baz", "host/x"}, "--annotations foo is given twice"},
		{[]string{"inspect", "http://user:topsecret@127.0.0.1:1/x"}, "no room for a user"},
		{[]string{"catalog", "list", "--catalog=user:topsecret@127.0.0.1:1/x/extensions:v1"}, "graft: "},
		{[]string{"verify", "--key", "k", "--policy", "p", "host/x"}, "--key and --policy exclude each other: give one of them"},
		{[]string{"verify", "--key", "/no/key", "host/x"}, "/no/key: no such file"},
		{[]string{"catalog", "mirror", "https://127.0.0.1:1/x/extensions:v1", "y"}, "no URL"},
	} {
		code, conversation := ran(t.Context(), tt.args...)
		if code != exitInvalid || !strings.Contains(conversation, tt.want) || strings.Contains(conversation, "topsecret") {
			t.Errorf("%q: got code %d: %s", tt.args, code, conversation)
		}
	}
}
