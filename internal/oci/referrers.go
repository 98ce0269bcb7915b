package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// fallbackTag lists the referrers of a manifest in a registry that has no list
// itself (OCI distribution specification, "Referrers Tag Schema").
func fallbackTag(subject v1.Hash) string { return subject.Algorithm + "-" + subject.Hex }

// referrers asks the registry, page by page, or the fall-back tag.
func (r *repository) referrers(ctx context.Context, subject v1.Hash, types []string) ([]v1.Descriptor, error) {
	found, ok, err := r.listReferrers(ctx, subject, types)
	if err != nil {
		return nil, err
	}
	if !ok {
		d, err := r.tagged(ctx, fallbackTag(subject))
		if err != nil || d == nil {
			return nil, err
		}
		if found, err = parseReferrers(d.Data); err != nil {
			return nil, fmt.Errorf("the tag %s: %w", fallbackTag(subject), err)
		}
	}
	return ofTypes(unique(found), types), nil
}

// noReferrers are answers of registries that know no referrers.
var noReferrers = []int{
	http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusNotImplemented,
}

// listReferrers is false if the registry knows no referrers. Where one type is
// wanted the registry may choose, but need not.
func (r *repository) listReferrers(ctx context.Context, subject v1.Hash, types []string) ([]v1.Descriptor, bool, error) {
	u := r.url("referrers", subject.String())
	if len(types) == 1 {
		u.RawQuery = url.Values{"artifactType": types}.Encode()
	}
	var found []v1.Descriptor
	for range maxReferrerPages {
		page, next, err := r.referrersPage(ctx, u)
		switch {
		case hasStatus(err, noReferrers...) || errors.Is(err, errNotReferrers):
			return nil, false, nil
		case err != nil:
			return nil, false, err
		}
		if found = append(found, page...); len(found) > maxReferrers {
			return nil, false, tooManyReferrers(subject)
		}
		if next == nil {
			return found, true, nil
		}
		u = next
	}
	return nil, false, tooManyReferrers(subject)
}

func tooManyReferrers(subject v1.Hash) error {
	return fmt.Errorf("more than %d manifests refer to %s: graft does not read them", maxReferrers, subject)
}

// errNotReferrers says that a registry answered with something else, such as a
// page for people.
var errNotReferrers = errors.New("it is no list of referrers")

func (r *repository) referrersPage(ctx context.Context, u *url.URL) (page []v1.Descriptor, next *url.URL, err error) {
	resp, err := r.do(ctx, http.MethodGet, u, http.Header{"Accept": {string(types.OCIImageIndex)}}, nil, http.StatusOK)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	if media != string(types.OCIImageIndex) {
		return nil, nil, errNotReferrers
	}
	data, err := readLimited(resp.Body)
	if err == nil {
		page, err = parseReferrers(data)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the list of referrers: %w", err)
	}
	next, err = nextPage(u, resp.Header)
	return page, next, err
}

// nextPage reads the Link header (RFC 8288): </v2/...?...>; rel="next". A next
// page on another host would get the credentials of this one, and is refused.
func nextPage(u *url.URL, h http.Header) (*url.URL, error) {
	for _, link := range h.Values("Link") {
		target, params, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if !ok || !strings.Contains(strings.ReplaceAll(params, `"`, ""), "rel=next") {
			continue
		}
		next, err := u.Parse(target)
		if err != nil {
			return nil, fmt.Errorf("the next page %q: %w", target, err)
		}
		if next.Host != u.Host || next.Scheme != u.Scheme {
			return nil, fmt.Errorf("the next page %q is on another host", target)
		}
		return next, nil
	}
	return nil, nil
}

func parseReferrers(data []byte) ([]v1.Descriptor, error) {
	var index v1.IndexManifest
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("parsing the list of referrers: %w", err)
	}
	if len(index.Manifests) > maxReferrers {
		return nil, fmt.Errorf("%d referrers, %d are allowed", len(index.Manifests), maxReferrers)
	}
	return index.Manifests, nil
}
