package oci

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"unicode"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	maxErrorAnswer = 60 << 10 // what is read of an error, in bytes
	maxErrorText   = 500      // what is shown of it, in characters
	maxErrors      = 5
)

// tidied is an answer that says that something is wrong, made fit for a message
// to a person: what it says in the registries' form (OCI distribution
// specification, "Error Codes"), or the beginning of a text. Whatever its
// length, its status remains.
func tidied(resp *http.Response) io.ReadCloser {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	if err != nil {
		data = nil // the status says enough
	}
	resp.ContentLength = -1
	return &tidyBody{bytes.NewReader(tidy(data)), resp.Body}
}

type tidyBody struct {
	io.Reader
	io.Closer
}

func tidy(data []byte) []byte {
	var said struct {
		Errors []transport.Diagnostic `json:"errors"`
	}
	if json.Unmarshal(data, &said) != nil || len(said.Errors) == 0 {
		return []byte(tidyText(string(data)))
	}
	said.Errors = said.Errors[:min(len(said.Errors), maxErrors)]
	for i, e := range said.Errors {
		said.Errors[i] = transport.Diagnostic{Code: transport.ErrorCode(printable(string(e.Code))), Message: printable(e.Message)}
	}
	data, _ = json.Marshal(said) // of strings
	return data
}

// tidyText leaves out pages, and data that mean nothing to a person.
func tidyText(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.ContainsAny(s[:1], "<{[") || len(s) == maxErrorAnswer {
		return ""
	}
	return printable(s)
}

// printable is one line of text without what controls a terminal.
func printable(s string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, s)
	if short := []rune(clean); len(short) > maxErrorText {
		return string(short[:maxErrorText]) + "…"
	}
	return clean
}
