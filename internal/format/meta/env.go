package meta

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"strings"
)

const (
	gzipFrom  = 257 // bytes, the least that is compressed
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
