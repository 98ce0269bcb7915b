package sign

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// tokenAudience is whom an identity token for Fulcio is meant for.
const tokenAudience = "sigstore"

const maxToken = 64 << 10

// tokenIdentity reads, unverified, whom a token is about. Verifying is up to
// Fulcio. The subject stays empty where Fulcio makes it up from other claims.
func tokenIdentity(token string) (Rule, error) {
	if len(token) > maxToken {
		return Rule{}, fmt.Errorf("the identity token has %d bytes, %d are allowed", len(token), maxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return Rule{}, errors.New("the identity token is no JSON web token: three parts between dots")
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Rule{}, fmt.Errorf("the claims of the identity token: %w", err)
	}
	var c struct {
		Issuer string `json:"iss"`
		Email  string `json:"email"`
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return Rule{}, fmt.Errorf("the claims of the identity token: %w", err)
	}
	return Rule{Subject: Match{Exact: c.Email}, Issuer: Match{Exact: c.Issuer}}, nil
}

// ActionsToken asks GitHub for the identity token of the workflow that runs,
// at the URL and with the credential of the environment variables
// ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN.
func ActionsToken(ctx context.Context, requestURL, credential string) (string, error) {
	u, err := url.Parse(requestURL)
	if err != nil {
		return "", fmt.Errorf("asking for an identity token: %w", err)
	}
	q := u.Query()
	q.Set("audience", tokenAudience)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("asking for an identity token: %w", err)
	}
	req.Header.Set("Authorization", "bearer "+credential)
	resp, err := (&http.Client{Timeout: serviceTimeout}).Do(req)
	if err != nil {
		return "", &ServiceError{fmt.Errorf("asking for an identity token: %w", err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", &ServiceError{fmt.Errorf("asking for an identity token: %s answered %s", u.Host, resp.Status)}
	}
	var answer struct{ Value string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxToken)).Decode(&answer); err != nil || answer.Value == "" {
		return "", &ServiceError{fmt.Errorf("asking for an identity token: the answer of %s has none", u.Host)}
	}
	return answer.Value, nil
}
