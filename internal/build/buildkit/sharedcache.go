package buildkit

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
)

// parseCache reads an option such as "type=registry,ref=NAME,mode=max". A text
// without a type is a name in a registry.
func parseCache(text, dir string) (client.CacheOptionsEntry, error) {
	fail := func(err error) (client.CacheOptionsEntry, error) {
		return client.CacheOptionsEntry{}, fmt.Errorf("reading the cache option %q: %w", text, err)
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return fail(err)
	}
	if len(fields) == 1 && !strings.Contains(text, "=") {
		return client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{"ref": text}}, nil
	}
	e := client.CacheOptionsEntry{Attrs: map[string]string{}}
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		if !ok {
			return fail(fmt.Errorf("%q is not KEY=VALUE", f))
		}
		e.Attrs[strings.ToLower(key)] = value
	}
	e.Type = e.Attrs["type"]
	delete(e.Attrs, "type")
	need := map[string]string{"registry": "ref", "local": dir}[e.Type]
	switch {
	case e.Type == "":
		return fail(errors.New("it has no type, such as type=registry"))
	case need != "" && e.Attrs[need] == "":
		return fail(fmt.Errorf("the type %s needs %s=", e.Type, need))
	}
	return e, nil
}
