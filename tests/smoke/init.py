"""`countersign init` in apps of many kinds; then the command it tells is run as it stands, before a tiny backend at the port it
found, and a request with a token goes through. In a network of its own where one can be had: the ports are the apps'.
"""

import contextlib
import http.server
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BINARY, ROOT, Process, bearer, clean, demo, have_loopback, main, mint, request, serving, until_ready

TOOLS = os.environ["PATH"] + ":/usr/sbin:/sbin"
DEMO = "http://localhost:3000"  # the page that the demo's tokens are given to
PROXY = "http://localhost:4600"

PACKAGE = '{"name": "app", "scripts": {"dev": "%s"}, "dependencies": {%s}}'
VITE = PACKAGE % ("vite", '"react": "19", "@clerk/clerk-react": "5"}, "devDependencies": {"vite": "7"')
COMPOSE = """\
services:
  db:
    image: postgres:17
    ports: ["5432:5432"]
  app:
    build: .
    ports:
      - "8085:80"
"""

# name: files, the backend's port, what tells of it, the page that calls where that is known, what the snippet begins with
APPS = {
    "Next.js": ({".env.local": "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=$KEY\nCLERK_SECRET_KEY=$SECRET\n",
                 "package.json": PACKAGE % ("next dev -p 3100", '"next": "16", "react": "19", "@clerk/nextjs": "7"')},
                3100, "package.json, script `dev`", PROXY, 'from "@clerk/nextjs"'),
    "Nuxt": ({".env": 'NUXT_PUBLIC_CLERK_PUBLISHABLE_KEY="$KEY"\nNUXT_CLERK_SECRET_KEY="$SECRET"\n',
              "package.json": PACKAGE % ("nuxt dev", '"nuxt": "4", "@clerk/nuxt": "3"')},
             3000, "package.json: where Nuxt listens by default", PROXY, "await getToken.value()"),
    "Vite and Express": ({"web/.env.local": "VITE_CLERK_PUBLISHABLE_KEY=$KEY\n", "web/package.json": VITE,
                          "server/package.json": PACKAGE % ("node index.js", '"express": "5"'),
                          "server/index.js": "app.listen(process.env.PORT || 4002)\n"},
                         4002, "server/index.js", "http://localhost:5173", 'from "@clerk/clerk-react"'),
    "Create React App and Rails": ({".env": "REACT_APP_CLERK_PUBLISHABLE_KEY=$KEY\n",
                                    "package.json": PACKAGE % ("react-scripts start", '"react-scripts": "5", "react": "18"'),
                                    "backend/Gemfile": "source 'https://rubygems.org'\ngem 'rails', '~> 8.0'\n",
                                    "backend/config.ru": "run Rails.application\n"},
                                   3000, "backend/Gemfile: where Rails listens by default", "http://localhost:3000",
                                   'from "@clerk/react"'),
    "Expo and Go": ({"app/.env": "EXPO_PUBLIC_CLERK_PUBLISHABLE_KEY=$KEY\n",
                     "app/package.json": PACKAGE % ("expo start", '"expo": "54", "react": "19", "@clerk/clerk-expo": "2"'),
                     "go.mod": "module app\n", "main.go": 'log.Fatal(http.ListenAndServe(":8086", nil))\n'},
                    8086, "main.go", None, 'from "@clerk/clerk-expo"'),
    "Gatsby and FastAPI": ({".env.development": "GATSBY_CLERK_PUBLISHABLE_KEY=$KEY\n",
                            "package.json": PACKAGE % ("gatsby develop", '"gatsby": "5", "gatsby-plugin-clerk": "4"'),
                            "api/pyproject.toml": 'dependencies = ["fastapi>=0.115"]\n',
                            "api/Procfile": "web: uvicorn app:app --host 0.0.0.0 --port ${PORT:-8001}\n"},
                           8001, "api/Procfile", "http://localhost:8000", "await fetch("),
    "Astro": ({".env": "PUBLIC_CLERK_PUBLISHABLE_KEY=$KEY\n",
               "package.json": PACKAGE % ("astro dev", '"astro": "5", "@clerk/astro": "4"')},
              4321, "package.json: where Astro listens by default", PROXY, "window.Clerk.session.getToken()"),
    "Django": ({".env": "CLERK_PUBLISHABLE_KEY=$KEY\nCLERK_SECRET_KEY=$SECRET\n", "manage.py": "", "requirements.txt": "Django\n"},
               8000, "manage.py: where Django listens by default", None, "window.Clerk.session.getToken()"),
    "Flask, told its port": ({".env": "export CLERK_PUBLISHABLE_KEY='$KEY' # ours\nPORT=5050\n", "requirements.txt": "flask==3\n"},
                             5050, "PORT in .env", None, "window.Clerk.session.getToken()"),
    "Rack": ({".env": "CLERK_PUBLISHABLE_KEY=$KEY\n", "Gemfile": "gem 'rack'\n", "config.ru": "run ->(env) { }\n"},
             9292, "config.ru: where Rack listens by default", None, "window.Clerk.session.getToken()"),
    "Rails, told its port": ({".env": "CLERK_PUBLISHABLE_KEY=$KEY\n", "Gemfile": "gem 'rails', '~> 8.0'\n",
                              "config/puma.rb": 'threads 3, 3\nport ENV.fetch("PORT") { 3010 }\n'},
                             3010, "config/puma.rb", None, "window.Clerk.session.getToken()"),
    "Laravel, its scripts built with Vite": (
        {".env": "APP_NAME=app\nVITE_CLERK_PUBLISHABLE_KEY=$KEY\n", "artisan": "", "vite.config.js": "export default defineConfig({})\n",
         "package.json": PACKAGE % ("vite", '"vite": "7", "laravel-vite-plugin": "2"')},
        8000, "artisan: where Laravel listens by default", PROXY, "window.Clerk.session.getToken()"),
    "a repository of several apps": (
        {"package.json": PACKAGE % ("turbo run dev", '"turbo": "2"'), "apps/web/.env.local": "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=$KEY\n",
         "apps/docs/package.json": PACKAGE % ("next dev --port 3001", '"next": "16"'),
         "apps/web/package.json": PACKAGE % ("next dev --port 3000", '"next": "16", "@clerk/nextjs": "7"'),
         "packages/ui/package.json": PACKAGE % ("storybook dev -p 6006", '"react": "19"')},
        3000, "apps/web/package.json, script `dev`", PROXY, 'from "@clerk/nextjs"'),
    "Next.js and FastAPI in one folder": (
        {".env.local": "NEXT_PUBLIC_CLERK_PUBLISHABLE_KEY=$KEY\n", "requirements.txt": "fastapi\nuvicorn\n",
         "package.json": '{"scripts": {"dev": "concurrently \\"npm run next-dev\\" \\"npm run fastapi-dev\\"", "next-dev": "next dev -p 3005", '
                         '"fastapi-dev": "uvicorn api.index:app --reload"}, "dependencies": {"next": "16", "@clerk/nextjs": "7"}}'},
        8000, "requirements.txt: where FastAPI listens by default", "http://localhost:3005", 'from "@clerk/nextjs"'),
    "Vite with a proxy, and Django": (
        {"frontend/.env": "VITE_CLERK_PUBLISHABLE_KEY=$KEY\n", "frontend/package.json": VITE, "backend/manage.py": "",
         "frontend/vite.config.ts": "export default defineConfig({\n  server: {\n"
                                    "    proxy: { '/api': { target: 'http://localhost:8000' } },\n    port: 3004,\n  },\n})\n"},
        8000, "backend/manage.py: where Django listens by default", "http://localhost:3004", 'from "@clerk/clerk-react"'),
    "Compose, with pages and a database": (
        {"web/.env": "VITE_CLERK_PUBLISHABLE_KEY=$KEY\n", "web/package.json": VITE, "api/requirements.txt": "fastapi\n",
         "compose.yaml": "services:\n"
                         "  db:\n    build: ./db\n    ports: [\"5432:5432\"]\n"
                         "  web:\n    build: ./web\n    ports: [\"5173:5173\"]\n"
                         "  api:\n    build: ./api\n    ports: [\"5678:5678\", \"8084:8000\"]\n"},
        8084, "compose.yaml, a service with a `build`", "http://localhost:5173", 'from "@clerk/clerk-react"'),
    "Compose": ({".env": "CLERK_PUBLISHABLE_KEY=$KEY\n", "compose.yaml": COMPOSE, "Dockerfile": "FROM scratch\nEXPOSE 80\n"},
                8085, "compose.yaml, a service with a `build`", None, "window.Clerk.session.getToken()"),
    "an image": ({".env.production": "CLERK_PUBLISHABLE_KEY=$KEY\n", "Dockerfile": "FROM scratch\nEXPOSE 8087/tcp\n",
                  "Cargo.toml": '[dependencies]\naxum = "0.8"\n'},
                 8087, "EXPOSE in Dockerfile", None, "window.Clerk.session.getToken()"),
    "a secretive one": ({".env": "CLERK_SECRET_KEY=$SECRET\nVITE_CLERK_PUBLISHABLE_KEY=$SECRET\nCLERK_PUBLISHABLE_KEY=$KEY\n",
                         "Procfile": "web: CLERK_SECRET_KEY=$SECRET gunicorn --bind 127.0.0.1:8088 app\n"},
                        8088, "Procfile", None, "window.Clerk.session.getToken()"),
}

# What is open to everybody, as it is for a real one in tests/frontends.
PUBLIC = dict.fromkeys(["Next.js", "a repository of several apps"], ["/_next/static/**"])
GUIDE = ROOT / "deploy" / "examples" / "frontends" / "README.md"


def alone():
    """Starts this run again in a network of its own; goes on in this one where none is to be had."""
    if os.environ.get("INIT_ALONE"):
        have_loopback()
        return
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    apart = [shutil.which("unshare", path=TOOLS) or "unshare", "--net", *root]
    with contextlib.suppress(OSError):
        if subprocess.run([*apart, "true"], stderr=subprocess.DEVNULL).returncode == 0:
            os.execve(apart[0], [*apart, sys.executable, *sys.argv], os.environ | {"INIT_ALONE": "1"})


class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.headers.get("x-clerk-user-id", "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def backend(port):
    return serving(http.server.ThreadingHTTPServer(("127.0.0.1", port), Backend))


def app(folder, files, about):
    """Lays an app's files into a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("$KEY", about["publishable_key"]).replace("$SECRET", about["secret_key"]))


def works(cases, name, files, port, by, party, snippet, about):
    with tempfile.TemporaryDirectory() as at:
        folder = pathlib.Path(at)
        app(folder, files, about)
        run = subprocess.run([BINARY, "init"], cwd=folder, env=clean({}), capture_output=True, text=True)
        if not cases.check(f"{name}: settings are written", run.returncode == 0, run.stderr):
            return
        settings = (folder / "countersign.toml").read_text()
        found = f"\nbackend  http://127.0.0.1:{port} ({by})\n"
        cases.check(f"{name}: port {port} is found, by {by}", found in run.stdout, run.stdout)
        cases.check(f"{name}: the snippet is its framework's", snippet in run.stdout, run.stdout)
        cases.check(f"{name}: nothing secret is repeated", about["secret_key"] not in settings + run.stdout)
        strict = subprocess.run([BINARY, "check", "--strict", "--config", "countersign.toml"], cwd=folder, env=clean({}),
                                capture_output=True, text=True)
        warnings = [re.findall(f"^warning{after}(.*)$", out, re.MULTILINE) for after, out in ((": ", strict.stdout), ("  ", run.stdout))]
        cases.check(f"{name}: a strict check warns of what was told", warnings[0] == warnings[1], warnings)
        cases.check(f"{name}: and of nothing where the page is known", (strict.returncode == 0) == bool(party), strict.stdout)
        line = re.search(r"^  (countersign serve .*)$", run.stdout, re.MULTILINE).group(1).split()
        with backend(port), Process([BINARY, *line[1:]], clean({}), cwd=folder) as process:
            until_ready(process, "http://127.0.0.1:4601")
            get = lambda *headers: request("http://127.0.0.1:4600", "GET", "/orders", headers)
            user = get(bearer(mint(about, azp=party or DEMO)))
            cases.check(f"{name}: 200 with a token", user.status == 200 and user.text.startswith("user_"), user)
            cases.check(f"{name}: 401 without one", get().status == 401)
            opened(cases, name, settings)
            if party:
                stranger = get(bearer(mint(about, azp="http://localhost:9")))
                cases.check(f"{name}: 401 for a token of another page", stranger.status == 401, stranger)
            cases.check(f"{name}: SIGTERM ends it with 0", process.stop() == 0, process.logged())


def opened(cases, name, settings):
    """What somebody without a token gets: the files that a page to sign in is made of, where it is the backend's."""
    routes = tomllib.loads(settings).get("route", [])
    known = PUBLIC.get(name, [])
    cases.check(f"{name}: open is {known}", routes == [{"path": path, "access": "public"} for path in known], routes)
    if known:
        [guide] = re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
        cases.check(f"{name}: as the guide has it", all(route in tomllib.loads(guide)["route"] for route in routes), guide)
    for path in "/_next/static/chunks/main.js", "/_next/data/build/orders.json", "/_next/image", "/_next":
        wanted = 200 if any(path.startswith(open.removesuffix("**")) for open in known) else 401
        reply = request("http://127.0.0.1:4600", "GET", path)
        cases.check(f"{name}: {wanted} for {path} without a token", reply.status == wanted, reply)


def run(cases):
    with demo() as (_, about):
        for name, told in APPS.items():
            works(cases, name, *told, about)


alone()
main(run)
