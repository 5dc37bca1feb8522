// Package countersign believes who Countersign says is calling: it checks the RFC 9421 signature of each request.
//
//	keys, err := countersign.Secret(os.Getenv("COUNTERSIGN_SIGNING_SECRET"))
//	err := countersign.Verify(request, keys, countersign.Identity, "x-clerk-")
//	request.Header.Get("x-clerk-user-id") // empty for nobody
//
// As in your settings: all identity headers in their order, and "x-clerk-assertion" last where `signing.mode` has both
// kinds; the prefix; "@query" where it is covered. A header with the prefix that is not in the list is refused.
// The standard library is enough. Made to be copied.
package countersign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Identity is the default of `identity.headers`; those of `identity.claims` follow them.
var Identity = strings.Fields("x-clerk-principal x-clerk-token-type x-clerk-user-id x-clerk-session-id " +
	"x-clerk-org-id x-clerk-org-slug x-clerk-org-role x-clerk-org-permissions x-clerk-actor-id")

// shape is that of our member of `Signature-Input`.
var shape = regexp.MustCompile(`^\(([^)]*)\);created=(\d{1,15});expires=(\d{1,15});keyid="([^"]*)"` +
	`;alg="hmac-sha256";tag="countersign"$`)

// Of a structured dictionary: a comma within quotes ends no member.
var member = regexp.MustCompile(`(?:[^,"]|"(?:[^"\\]|\\.)*"?)+`)

// Secret returns the key of `signing.secret`, by its id; where you set `signing.key_id`, that is the id.
func Secret(text string) (keys map[string][]byte, err error) {
	key := []byte(text)
	if strings.HasPrefix(text, "base64:") {
		key, err = base64.StdEncoding.DecodeString(text[7:])
	}
	if err != nil || len(key) < 32 {
		return nil, errors.New("a secret has at least 32 bytes")
	}
	return map[string][]byte{hex.EncodeToString(mac(key, "kid")[:4]): key}, nil
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}

func ours(r *http.Request, name string) (string, error) {
	found := []string{}
	for _, text := range member.FindAllString(strings.Join(r.Header.Values(name), ", "), -1) {
		if text = strings.TrimSpace(text); strings.HasPrefix(text, "countersign=") {
			found = append(found, text[len("countersign="):])
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("our %s is there %d times", name, len(found))
	}
	return found[0], nil
}

// Verify says why a request is not believed; nil: each identity header is there once, and ours.
func Verify(r *http.Request, keys map[string][]byte, identity []string, prefix string, cover ...string) error {
	params, err := ours(r, "signature-input")
	if err != nil {
		return err
	}
	signature, err := ours(r, "signature")
	if err != nil {
		return err
	}
	path, query, _ := strings.Cut(r.RequestURI, "?") // as they came
	derived := map[string][]string{"@method": {r.Method}, "@authority": {r.Host}, "@path": {path}, "@query": {"?" + query}}
	covered, base := "", ""
	for _, name := range append(append(append([]string{}, identity...), "@method", "@authority", "@path"), cover...) {
		values := append(derived[name], r.Header.Values(name)...)
		if len(values) != 1 {
			return fmt.Errorf("%s is there %d times", name, len(values))
		}
		covered += fmt.Sprintf(" %q", name)
		base += fmt.Sprintf("%q: %s\n", name, values[0])
	}
	for name := range r.Header { // what is not covered anybody may have added; `_` would be taken for `-` further on
		name = strings.ToLower(name)
		ours := strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), prefix)
		if ours && !strings.Contains(covered, `"`+name+`"`) {
			return fmt.Errorf("%s is not signed", name)
		}
	}
	form := shape.FindStringSubmatch(params)
	if form == nil {
		return errors.New("the signature is not of our kind")
	}
	if form[1] != covered[1:] {
		return errors.New("it does not cover what it must")
	}
	created, _ := strconv.ParseInt(form[2], 10, 64)
	expires, _ := strconv.ParseInt(form[3], 10, 64)
	if now := time.Now().Unix(); created > now+5 || expires < now-5 {
		return errors.New("the signature is not of this time")
	}
	key, known := keys[form[4]]
	if !known {
		return errors.New("no key of this id and algorithm is known")
	}
	good := ":" + base64.StdEncoding.EncodeToString(mac(key, base+`"@signature-params": `+params)) + ":"
	if !hmac.Equal([]byte(signature), []byte(good)) {
		return errors.New("the signature does not hold")
	}
	return nil
}
