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
	"encoding/hex"
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
const Covered = "x-clerk-principal x-clerk-token-type x-clerk-user-id x-clerk-session-id " +
	"x-clerk-org-id x-clerk-org-slug x-clerk-org-role x-clerk-org-permissions x-clerk-actor-id " +
	"@method @authority @path"

// Of a structured dictionary: a comma within quotes ends no member.
var member = regexp.MustCompile(`\s*(countersign=)?((?:[^,"]|"(?:[^"\\]|\\.)*"?)*)`)

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
	return map[string][]byte{hex.EncodeToString(mac(key, "kid")[:4]): key}, nil
}

func mac(key []byte, text string) []byte {
	hash := hmac.New(sha256.New, key)
	hash.Write([]byte(text))
	return hash.Sum(nil)
}

func ours(fields []string) (found []string) {
	for _, one := range member.FindAllStringSubmatch(strings.Join(fields, ","), -1) {
		if one[1] != "" {
			found = append(found, strings.TrimSpace(one[2]))
		}
	}
	return found
}

// Verify says why a request is not believed; nil: each identity header is there once, and ours.
func Verify(r *http.Request, keys map[string][]byte, covered, prefix string) (refused error) {
	need := func(so bool, why string, about ...any) { // the first that does not hold is told
		if !so && refused == nil {
			refused = fmt.Errorf(why, about...)
		}
	}
	input := strings.Join(ours(r.Header["Signature-Input"]), ",") // two hold as none
	need(input != "", "our signature-input is there 0 times")
	path, query, _ := strings.Cut(r.RequestURI, "?") // as they came
	derived := map[string][]string{"@method": {r.Method}, "@authority": {r.Host},
		"@path": {path}, "@query": {"?" + query}}
	list, base := `("`+strings.ReplaceAll(covered, " ", `" "`)+`")`, ""
	for _, name := range strings.Fields(covered) {
		values := append(derived[name], r.Header.Values(name)...)
		need(len(values) == 1, "%s is there %d times", name, len(values))
		base += fmt.Sprintf("%q: %s\n", name, strings.Join(values, ", "))
	}
	for name := range r.Header { // what is not covered anybody may have added
		name = strings.ToLower(name) // with `_` it would be taken for `-` further on
		ours := strings.HasPrefix(strings.ReplaceAll(name, "_", "-"), prefix)
		need(!ours || strings.Contains(list, `"`+name+`"`), "%s is not signed", name)
	}
	given, rest, _ := strings.Cut(input, ";")
	created, expires, id := int64(0), int64(0), ""
	const kind = "created=%d;expires=%d;keyid=%q;alg=\"hmac-sha256\";tag=\"countersign\"\n"
	_, err := fmt.Sscanf(rest+"\n", kind, &created, &expires, &id)
	need(err == nil, "the signature is not of our kind")
	need(given == list, "it does not cover what it must")
	now := time.Now().Unix()
	need(created <= now+5 && expires >= now-5, "the signature is not of this time")
	need(keys[id] != nil, "no key of this id is known")
	good := base64.StdEncoding.EncodeToString(mac(keys[id], base+`"@signature-params": `+input))
	signature := strings.Join(ours(r.Header["Signature"]), ",")
	need(hmac.Equal([]byte(signature), []byte(":"+good+":")), "the signature does not hold")
	return refused
}
