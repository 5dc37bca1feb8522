// net/http behind Countersign: callerOf(request) is who calls. README.md says how to run it.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"example/countersign"
)

type caller struct {
	user, org, role string // empty for nobody
	permissions     []string
}

// Only behind the guard: there each of these headers is ours, and there once.
func callerOf(r *http.Request) caller {
	told := func(name string) string { return r.Header.Get("x-clerk-" + name) }
	permissions := strings.Split(told("org-permissions"), ", ")
	return caller{told("user-id"), told("org-id"), told("org-role"), permissions}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func main() {
	pages := http.NewServeMux()
	pages.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, "You are %s, %s.\n", callerOf(r).user, or(callerOf(r).role, "without a role"))
	})
	pages.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello, %s.\n", or(callerOf(r).user, "nobody"))
	})
	// Only for whom the route in countersign.toml lets through.
	pages.HandleFunc("/admin", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Welcome to the office, %s.\n", callerOf(r).user)
	})
	pages.HandleFunc("/api/notes/", func(w http.ResponseWriter, r *http.Request) {
		var tag *string
		if r.URL.Query().Has("tag") {
			only := r.URL.Query().Get("tag")
			tag = &only
		}
		mayShare := false
		for _, permission := range callerOf(r).permissions {
			mayShare = mayShare || permission == "org:teams:read"
		}
		title := strings.TrimPrefix(r.URL.Path, "/api/notes/")
		w.Header().Set("Content-Type", "application/json")
		seen := map[string]any{"title": title, "tag": tag, "reader": callerOf(r).user, "may_share": mayShare}
		json.NewEncoder(w).Encode(seen)
	})

	keys, err := countersign.Secret(os.Getenv("COUNTERSIGN_SIGNING_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), countersign.Guard(onlyReads(pages), keys)))
}

// A handler answers every method unless it says otherwise. A CORS preflight reaches each of them as from nobody,
// also where the route asks for a role.
func onlyReads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
