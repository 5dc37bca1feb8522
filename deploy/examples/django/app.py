"""Django behind Countersign: `request.caller` is who calls. README.md says how to run it."""

import os
from types import SimpleNamespace

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

import countersign


def with_caller(get_response):
    def middleware(request):
        told = request.countersign
        request.caller = SimpleNamespace(
            user=told["x-clerk-user-id"],  # empty for nobody, as is the rest
            org=told["x-clerk-org-id"],
            role=told["x-clerk-org-role"],
            permissions=told["x-clerk-org-permissions"].replace(",", " ").split(),
        )
        return get_response(request)

    return middleware


def text(words):
    return HttpResponse(words, content_type="text/plain; charset=utf-8")


# A view answers every method unless it says otherwise. A CORS preflight reaches each of them as from
# nobody, also where the route asks for a role.
@require_safe
def home(request):
    return text(f"You are {request.caller.user}, {request.caller.role or 'without a role'}.\n")


@require_safe
def hello(request):
    return text(f"Hello, {request.caller.user or 'nobody'}.\n")


@require_safe
def admin(request):  # only for whom the route in countersign.toml lets through
    return text(f"Welcome to the office, {request.caller.user}.\n")


@require_safe
def note(request, title):
    may_share = "org:teams:read" in request.caller.permissions
    seen = {"title": title, "tag": request.GET.get("tag"), "reader": request.caller.user, "may_share": may_share}
    return JsonResponse(seen)


urlpatterns = [path("", home), path("hello", hello), path("admin", admin), path("api/notes/<title>", note)]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],  # what clients call the proxy
    MIDDLEWARE=["countersign_middleware.django", f"{__name__}.with_caller"],  # it stands first
    COUNTERSIGN_KEYS=countersign.secret(os.environ["COUNTERSIGN_SIGNING_SECRET"]),
    ROOT_URLCONF=__name__,
)
application = get_wsgi_application()
