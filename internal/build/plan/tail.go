package plan

import "bytes"

// Tail keeps the end of what was written to it, for ExecError.
type Tail struct{ data []byte }

// tailSize is what a Tail keeps, in bytes.
const tailSize = 16 << 10

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - tailSize; over > tailSize {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

// Bytes is a copy of what was kept.
func (t *Tail) Bytes() []byte {
	return bytes.Clone(t.data[max(0, len(t.data)-tailSize):])
}
