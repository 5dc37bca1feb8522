"""The backend code that README.md shows, run as it stands there behind `countersign demo`."""

import http.server
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import ROOT, demo, main, mint, request, serving, url_of


def shown():
    """What README.md's Python defines."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL).group(1)
    names = {}
    exec(code, names)  # our own README
    return names["caller"]


class Backend(http.server.BaseHTTPRequestHandler):
    caller = staticmethod(shown())
    secret = b""

    def do_GET(self):
        headers = {name.lower(): ", ".join(self.headers.get_all(name)) for name in self.headers}
        try:
            told = self.caller(headers, self.command, self.path.split("?")[0], self.secret)
        except (PermissionError, KeyError, AttributeError) as error:
            told = repr(error)
        body = json.dumps({"caller": told, "headers": headers}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def run(cases):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    backend = url_of(server)
    with serving(server), demo("--upstream", backend) as (_, about):
        Backend.secret = about["signing_secret"].encode()
        token = ("Authorization", f"Bearer {mint(about)}")
        theirs = [("Signature-Input", 'mycountersign=("@method");created=1'), ("Signature", "mycountersign=:AAAA:")]
        for name, headers in [("a request", [token]), ("one that somebody else signed too", [token, *theirs])]:
            got = request(about["proxy"], "GET", "/orders?page=2", headers).json()
            user, role, permissions = got["caller"]
            cases.check(f"{name}: believed", user.startswith("user_") and role == "org:admin", got["caller"])
            cases.check(f"{name}: permissions are a list", "org:teams:read" in permissions, permissions)

        got = list(request(about["proxy"], "GET", "/orders", [token]).json()["headers"].items())
        again = lambda headers, method="GET", path="/orders": request(backend, method, path, headers).json()["caller"]
        cases.check("the same headers again: believed", isinstance(again(got), list), again(got))
        cases.check("no signature: refused", isinstance(again([token]), str))
        cases.check("another method: refused", isinstance(again(got, "POST"), str))
        cases.check("another path: refused", isinstance(again(got, path="/admin"), str))
        cases.check("a header beside the signed ones: refused", isinstance(again([*got, ("x-clerk-extra", "1")]), str))
        other = [(name, "user_root" if name == "x-clerk-user-id" else value) for name, value in got]
        cases.check("another user: refused", isinstance(again(other), str))
        for beside in [("x-clerk-user-id", "user_root"), *got], [*got, ("x-clerk-user-id", "user_root")]:
            cases.check("another user beside the true one: refused", isinstance(again(beside), str))


main(run)
