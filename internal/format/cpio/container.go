package cpio

import "io"

// container passes the bytes of one compressed stream through to a decoder and
// then returns io.EOF, although the input goes on: decoders read ahead, and
// take what follows for more of the same. It knows the stream's structure
// only, not its compression: step reads the next header and says how many
// bytes follow it.
type container struct {
	src  *source
	head []byte // header bytes that the decoder has not read yet
	body int64  // bytes behind them that are passed on as they are
	step func() error
	err  error // io.EOF at the end of the stream
}

// Read implements io.Reader.
func (c *container) Read(p []byte) (int, error) {
	for len(c.head) == 0 && c.body == 0 && c.err == nil {
		c.err = c.step()
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.src.Read(p[:min(int64(len(p)), c.body)])
	c.body -= int64(n)
	c.err = noEOF(err)
	return n, c.err
}

// take reads n header bytes, which the decoder gets as well.
func (c *container) take(n int) ([]byte, error) {
	at := len(c.head)
	c.head = append(c.head, make([]byte, n)...)
	if err := c.src.readFull(c.head[at:]); err != nil {
		return nil, err
	}
	return c.head[at:], nil
}

func endOfStream() error { return io.EOF }

// streamDecoder is a decoder fed by a container, whose errors say more.
type streamDecoder struct {
	io.Reader
	stream *container
}

func (d streamDecoder) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	return n, d.explain(err)
}

// explain also finds decoders that stop before the end of their stream.
func (d streamDecoder) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case d.stream.err == nil && err == io.EOF:
		return io.ErrUnexpectedEOF
	case d.stream.err == nil || d.stream.err == io.EOF:
		return err
	}
	return d.stream.err
}
