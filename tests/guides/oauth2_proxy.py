"""from-oauth2-proxy.md: before a stand-in for oauth2-proxy a proxy that reports breaks nothing, behind it it would.

The stand-in does what the guide relies on, as oauth2-proxy's documentation has it: a redirect to a provider with an
address made of what it is told of the client, a cookie of its own, and headers for the backend that only it sets.
"""

import http.server
import json
import pathlib
import re
import sys
import tempfile
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from guide import DOCS
from harness import bearer, claims_of, demo, main, mint, request, serve, serving, url_of

SESSION = ("Cookie", "_oauth2_proxy=session")


class OAuth2Proxy(http.server.BaseHTTPRequestHandler):
    """Before a backend that answers with the headers it got."""

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        cookies = self.headers.get("cookie", "")
        if url.path == "/oauth2/callback" and "_oauth2_proxy_csrf=state" in cookies and url.query == "code=1&state=s":
            self.redirect("/orders", "_oauth2_proxy=session; Path=/; HttpOnly")
        elif "_oauth2_proxy=session" not in cookies:
            back = f"{self.headers['x-forwarded-proto']}://{self.headers['host']}/oauth2/callback"
            where = "https://idp.example.com/authorize?" + urllib.parse.urlencode({"redirect_uri": back})
            self.redirect(where, "_oauth2_proxy_csrf=state; Path=/")
        else:
            told = {name.lower(): value for name, value in self.headers.items()} | {"x-forwarded-user": "ada"}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

    def redirect(self, where, cookie):
        self.send_response(302)
        self.send_header("Location", where)
        self.send_header("Set-Cookie", cookie)
        self.end_headers()

    def log_message(self, *_):
        pass


class Backend(OAuth2Proxy):
    """The backend alone."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({name.lower(): value for name, value in self.headers.items()}).encode())


def listening(handler):
    return serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))


def run(cases):
    guide = (DOCS / "guides" / "from-oauth2-proxy.md").read_text()
    (settings,) = re.findall(r"^   ```toml\n(.*?)^   ```", guide, re.MULTILINE | re.DOTALL)
    with demo() as (_, issuer), tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "countersign.toml"
        with listening(OAuth2Proxy) as old, listening(Backend) as backend:
            file.write_text(settings.replace("http://127.0.0.1:4180", url_of(old)))
            with serve(issuer, "--config", str(file)) as (_, proxy, admin):
                before(cases, proxy, admin, issuer)
            file.write_text(settings.replace("http://127.0.0.1:4180", url_of(backend)))
            with serve(issuer, "--config", str(file)) as (_, proxy, _):
                told = request(proxy, "GET", "/orders", [("X-Forwarded-User", "ada")]).json()
                lost = "x-forwarded-user" not in told
                cases.check("from-oauth2-proxy.md: behind it the backend would not be told", lost, told)


def before(cases, proxy, admin, issuer):
    def case(name, held, reply):
        cases.check(f"from-oauth2-proxy.md: {name}", held, reply)

    host = proxy.removeprefix("http://")
    page = [("Accept", "text/html"), ("Sec-Fetch-Dest", "document")]
    reply = request(proxy, "GET", "/orders", page)
    back = urllib.parse.parse_qs(urllib.parse.urlsplit(reply.headers.get("location", "")).query).get("redirect_uri")
    right = reply.status == 302 and back == [f"http://{host}/oauth2/callback"]
    case("who has no session is sent to the provider, and back to the proxy", right, reply)
    case("with a cookie for the way", reply.headers.get("set-cookie", "").startswith("_oauth2_proxy_csrf="), reply)
    reply = request(proxy, "GET", "/oauth2/callback?code=1&state=s", [*page, ("Cookie", "_oauth2_proxy_csrf=state")])
    came = reply.status == 302 and reply.headers.get("set-cookie", "").startswith("_oauth2_proxy=session")
    case("who comes back gets a session", came and reply.headers.get("location") == "/orders", reply)
    told = request(proxy, "GET", "/orders", [*page, SESSION]).json()
    old = told.get("x-forwarded-user"), told.get("x-clerk-principal")
    case("and is told of as ever, beside our headers", old == ("ada", "anonymous") and "signature" in told, told)
    token = mint(issuer)
    told = request(proxy, "GET", "/orders", [SESSION, bearer(token)]).json()
    both = told.get("x-forwarded-user"), told.get("x-clerk-user-id")
    case("who has both is told of by both", both == ("ada", claims_of(token)["sub"]), told)
    counted = re.search(r'requests_total\{[^}]*decision="would_reject"', request(admin, "GET", "/metrics").text)
    case("who would be refused is counted", counted, counted)


if __name__ == "__main__":
    main(run)
