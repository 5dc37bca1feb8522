package countersign

import "net/http"

// Guard stands before a handler and believes only what Countersign signed:
//
//	http.ListenAndServe(address, countersign.Guard(mux, keys))
//
// Where your settings differ from the default, give Verify yours.
func Guard(next http.Handler, keys map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := Verify(r, keys, Covered, "x-clerk-"); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}
