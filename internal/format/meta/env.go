package meta

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	gzipFrom  = 257     // bytes, the least that is compressed
	maxEnv    = 1 << 20 // bytes, of the text before base64 and gzip
	separator = ";"
)

// EncodeEnv writes values for the environment variable INSTALLER_META_BASE64:
// base64 of "0xa=value;0xb=value", compressed first if that is longer than 256
// bytes and the Talos that reads it knows gzip (1.6.3). A value must not have
// a semicolon, for which that form has no escape.
func EncodeEnv(values []Value, compress bool) (string, error) {
	words := make([]string, len(values))
	for i, v := range values {
		if strings.Contains(v.Value, separator) {
			return "", fmt.Errorf("encoding META for the environment: the value of %v has a semicolon, which separates values there", v.Key)
		}
		words[i] = v.String()
	}
	raw := []byte(strings.Join(words, separator))
	if compress && len(raw) >= gzipFrom {
		raw = zip(raw)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func zip(raw []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is right, and
	w.Write(raw)                                          // memory does not fail
	w.Close()
	return b.Bytes()
}

// DecodeEnv reads what EncodeEnv writes.
func DecodeEnv(s string) ([]Value, error) {
	raw, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decoding META from the environment: %w", err)
	}
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		if raw, err = unzip(raw); err != nil {
			return nil, fmt.Errorf("decoding META from the environment: %w", err)
		}
	}
	if len(raw) == 0 {
		return nil, nil
	}
	var values []Value
	for word := range strings.SplitSeq(string(raw), separator) {
		v, err := ParseValue(word)
		if err != nil {
			return nil, fmt.Errorf("decoding META from the environment: %w", err)
		}
		values = append(values, v)
	}
	return values, nil
}

func unzip(raw []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	raw, err = io.ReadAll(io.LimitReader(r, maxEnv+1))
	if err == nil && len(raw) > maxEnv {
		err = errors.New("more than 1 MiB")
	}
	return raw, err
}
