// Package countersign believes who Countersign says is calling: it checks the RFC 9421 signature
// of each request.
//
//	keys, err := countersign.Secret(os.Getenv("COUNTERSIGN_SIGNING_SECRET"))
//	err := countersign.Verify(request, keys, countersign.Covered, "x-clerk-")
//	request.Header.Get("x-clerk-user-id") // empty for nobody
//
// As in your settings: all that is covered, in its order, and the prefix. A header with the
// prefix that is not covered is refused. The standard library is enough. Made to be copied.
package countersign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

// Covered is the default. Those of `identity.claims` go before @method, behind them
// x-clerk-assertion where `signing.mode` has both kinds; @query goes last where `signing.cover`
// has it.
const Covered = "x-clerk-principal x-clerk-token-type x-clerk-user-id x-clerk-session-id x-clerk-org-id " +
	"x-clerk-org-slug x-clerk-org-role x-clerk-org-permissions x-clerk-actor-id @method @authority @path"

// Of a structured dictionary, ours or another's: a comma within quotes ends none.
var member = regexp.MustCompile(`\s*(?:countersign(=(?:[^,"]|"(?:[^"\\]|\\.)*"?)*)|(?:[^,"]|"(?:[^"\\]|\\.)*"?)*)`)

// Secret returns the key of `signing.secret`, by its id; where you set `signing.key_id`, that is
// the id.
func Secret(text string) (keys map[string][]byte, err error) {
	key := []byte(text)
	if strings.HasPrefix(text, "base64:") {
		key, err = base64.StdEncoding.DecodeString(text[7:])
	}
	if err != nil || len(key) < 32 {
		return nil, errors.New("a secret has at least 32 bytes")
	}
	hash := hmac.New(sha256.New, key)
	fmt.Fprint(hash, "kid")
	return map[string][]byte{fmt.Sprintf("%x", hash.Sum(nil))[:8]: key}, nil
}

// With its `=`. Two of them have a comma between, and hold as none.
func ours(field string) string { return strings.Trim(member.ReplaceAllString(field, "$1"), ", \t") }

// Verify says why a request is not believed; nil: each identity header is there once, and ours.
func Verify(r *http.Request, keys map[string][]byte, covered, prefix string) (refused error) {
	need := func(so bool, why string, about ...any) { // the first that does not hold is told
		if !so && refused == nil {
			refused = fmt.Errorf(why, about...)
		}
	}
	input := ours(strings.Join(r.Header["Signature-Input"], ","))
	need(input != "", "our signature-input is there 0 times")
	need(strings.HasPrefix(input, `=("`+strings.ReplaceAll(covered, " ", `" "`)+`");`), "it does not cover what it must")
	now, created, expires, id := time.Now().Unix(), int64(0), int64(0), ""
	const kind = `created=%d;expires=%d;keyid=%q;alg="hmac-sha256";tag="countersign"` + "\n"
	_, err := fmt.Sscanf(input[strings.Index(input, ";")+1:]+"\n", kind, &created, &expires, &id)
	need(err == nil, "the signature is not of our kind")
	need(created <= now+5 && expires >= now-5, "the signature is not of this time")
	need(keys[id] != nil, "no key of this id is known")
	hash := hmac.New(sha256.New, keys[id])
	path, query, _ := strings.Cut(r.RequestURI, "?") // as they came
	lines := http.Header{"@method": {r.Method}, "@authority": {r.Host}, "@path": {path}, "@query": {"?" + query}}
	for _, name := range strings.Fields(covered) {
		lines[name] = append(lines[name], r.Header.Values(name)...)
		need(len(lines[name]) == 1, "%s is there %d times", name, len(lines[name]))
		fmt.Fprintf(hash, "%q: %s\n", name, strings.Join(lines[name], ", "))
	}
	for h := range r.Header { // what is not covered anybody may have added
		h = strings.ToLower(h) // with `_` it would be taken for `-` further on
		need(lines[h] != nil || !strings.HasPrefix(strings.ReplaceAll(h, "_", "-"), prefix), "%s is not signed", h)
	}
	fmt.Fprintf(hash, `"@signature-params": %s`, strings.TrimPrefix(input, "="))
	good := []byte("=:" + base64.StdEncoding.EncodeToString(hash.Sum(nil)) + ":")
	need(hmac.Equal(good, []byte(ours(strings.Join(r.Header["Signature"], ",")))), "the signature does not hold")
	return refused
}
