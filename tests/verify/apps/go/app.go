package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"verify/countersign"
)

func main() {
	keys, err := countersign.Secret(os.Getenv("COUNTERSIGN_SIGNING_SECRET"))
	if err != nil {
		log.Fatal(err)
	}
	identity := os.Getenv("IDENTITY")
	covered := identity + " @method @authority @path"
	for _, part := range strings.Fields(os.Getenv("COVER")) {
		covered += " @" + part
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := countersign.Verify(r, keys, covered, "x-clerk-"); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		for _, name := range strings.Fields(identity) {
			fmt.Fprintf(w, "%s: %s\n", name, r.Header.Get(name))
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
