"""FastAPI behind Countersign: a `Caller` is who calls. README.md says how to run it."""

import os
from types import SimpleNamespace
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse

from countersign import secret
from countersign_middleware import asgi

app = FastAPI(openapi_url=None)  # no pages of its own
app.add_middleware(asgi, keys=secret(os.environ["COUNTERSIGN_SIGNING_SECRET"]))  # what is added last stands first


def read_caller(request: Request):
    told = request.scope["countersign"]
    return SimpleNamespace(
        user=told["x-clerk-user-id"],  # empty for nobody, as is the rest
        org=told["x-clerk-org-id"],
        role=told["x-clerk-org-role"],
        permissions=told["x-clerk-org-permissions"].replace(",", " ").split(),
    )


Caller = Annotated[SimpleNamespace, Depends(read_caller)]


def page(path):
    return app.api_route(path, methods=["GET", "HEAD"], response_class=PlainTextResponse)


@page("/")
def home(caller: Caller):
    return f"You are {caller.user}, {caller.role or 'without a role'}.\n"


@page("/hello")
def hello(caller: Caller):
    return f"Hello, {caller.user or 'nobody'}.\n"


@page("/admin")
def admin(caller: Caller):  # only for whom the route in countersign.toml lets through
    return f"Welcome to the office, {caller.user}.\n"


@app.get("/api/notes/{title}")
def note(title: str, caller: Caller, tag: str | None = None):
    may_share = "org:teams:read" in caller.permissions
    return {"title": title, "tag": tag, "reader": caller.user, "may_share": may_share}
