"""Flask behind Countersign: `g.caller` is who calls. README.md says how to run it."""

import os
from types import SimpleNamespace

from flask import Flask, Response, g, request

from countersign import secret
from countersign_middleware import wsgi

app = Flask(__name__)
app.wsgi_app = wsgi(app.wsgi_app, secret(os.environ["COUNTERSIGN_SIGNING_SECRET"]))


@app.before_request
def read_caller():
    told = request.environ["countersign"]
    g.caller = SimpleNamespace(
        user=told["x-clerk-user-id"],  # empty for nobody, as is the rest
        org=told["x-clerk-org-id"],
        role=told["x-clerk-org-role"],
        permissions=told["x-clerk-org-permissions"].replace(",", " ").split(),
    )


def text(words):
    return Response(words, mimetype="text/plain")


@app.get("/")
def home():
    return text(f"You are {g.caller.user}, {g.caller.role or 'without a role'}.\n")


@app.get("/hello")
def hello():
    return text(f"Hello, {g.caller.user or 'nobody'}.\n")


@app.get("/admin")
def admin():  # only for whom the route in countersign.toml lets through
    return text(f"Welcome to the office, {g.caller.user}.\n")


@app.get("/api/notes/<title>")
def note(title):
    may_share = "org:teams:read" in g.caller.permissions
    return {"title": title, "tag": request.args.get("tag"), "reader": g.caller.user, "may_share": may_share}
