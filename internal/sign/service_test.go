package sign

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/graftlinux/graft/internal/testkit/sigstore"
)

// TestServices: what vouches for a signature may refuse, or not be there.
func TestServices(t *testing.T) {
	no := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"code":400,"message":"no, thanks"}`))
	}))
	t.Cleanup(no.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	services := sigstore.Start(t)
	token := sigstore.Token(login, alice)
	for name, c := range map[string]struct {
		with Services
		says string
	}{
		"Fulcio refuses": {Services{Fulcio: no.URL, Rekor: services.Rekor}, "asking Fulcio for a certificate"},
		"Fulcio is gone": {Services{Fulcio: gone.URL, Rekor: services.Rekor}, "connection refused"},
		"Rekor refuses":  {Services{Fulcio: services.Fulcio, Rekor: no.URL}, "400"},
		"Rekor is gone":  {Services{Fulcio: services.Fulcio, Rekor: gone.URL}, "refused"},
		"no timestamp":   {Services{Fulcio: services.Fulcio, Timestamp: no.URL}, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			s := must[*Signer](t)(WithIdentity(token, c.with))
			_, err := s.Sign(t.Context(), img, nil)
			var service *ServiceError
			if !errors.As(err, &service) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want %q", err, c.says)
			}
		})
	}
	for name, c := range map[string]struct {
		token string
		with  Services
		says  string
	}{
		"no Fulcio":         {token, Services{Rekor: "x"}, "there is no Fulcio"},
		"nobody sees it":    {token, Services{Fulcio: "x"}, "without a log or a timestamp authority"},
		"no token":          {"", Services{Fulcio: "x", Rekor: "x"}, "no JSON web token"},
		"token, no base64":  {"a.*.c", Services{Fulcio: "x", Rekor: "x"}, "claims"},
		"token, not JSON":   {"a.YQ.c", Services{Fulcio: "x", Rekor: "x"}, "claims"},
		"token without end": {strings.Repeat("x", maxToken+1), Services{Fulcio: "x", Rekor: "x"}, "are allowed"},
	} {
		if _, err := WithIdentity(c.token, c.with); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestActionsToken(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "bearer credential":
			http.Error(w, "who are you?", http.StatusUnauthorized)
		case r.FormValue("audience") != "sigstore" || r.FormValue("api-version") != "2":
			_, _ = w.Write([]byte("{}"))
		default:
			_, _ = w.Write([]byte(`{"value":"a.b.c"}`))
		}
	}))
	t.Cleanup(srv.Close)
	if got, err := ActionsToken(t.Context(), srv.URL+"?api-version=2", "credential"); got != "a.b.c" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for name, c := range map[string]struct{ url, credential, says string }{
		"refused": {srv.URL, "x", "401"}, "no value": {srv.URL, "credential", "has none"}, "no URL": {"://", "", "asking for an identity token"},
	} {
		if _, err := ActionsToken(t.Context(), c.url, c.credential); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}

func TestParseRoot(t *testing.T) {
	must[*Root](t)(ParseRoot(sigstore.Start(t).TrustedRoot(t)))
	for name, data := range map[string]string{"empty": "", "no JSON": "x", "another type": `{"mediaType":"x"}`, "too long": strings.Repeat(" ", maxRoot+1)} {
		if _, err := ParseRoot([]byte(data)); err == nil || !strings.HasPrefix(err.Error(), "parsing the trusted root: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
