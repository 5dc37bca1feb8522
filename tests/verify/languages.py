"""The verifiers of deploy/verify: how each is built and run here, and how long it may be."""

import dataclasses
import re

from harness import ROOT

VERIFIERS = ROOT / "deploy" / "verify"
LONGEST = 40  # lines of code a verifier has; Rust's has more, and no check to spare: README.md there says why


@dataclasses.dataclass
class Language:
    name: str
    file: str
    version: str  # a command that tells it
    run: str
    build: str = ""
    longest: int = LONGEST
    # Targets that its server answers by itself: they are in no URL of RFC 3986.
    reads_odd_targets: bool = True
    # Whether it hangs up on a header that is not ASCII.
    hangs_up: bool = False


# What each is built and started with; what is in braces is put in.
LANGUAGES = [
    Language("Node", "countersign.mjs", "node --version", "node {apps}/app.mjs"),
    Language("Python", "countersign.py", "{python} --version", "{python} {apps}/app.py"),
    Language(
        "Ruby", "countersign.rb", "ruby --version",
        "puma --quiet --environment production {apps}/app.ru --bind tcp://127.0.0.1:{port}",
    ),
    Language("PHP", "countersign.php", "php --version", "php -S 127.0.0.1:{port} {apps}/app.php"),
    Language(
        "Perl", "Countersign.pm", "perl --version",
        "plackup --env deployment {apps}/app.psgi --host 127.0.0.1 --port {port}",
    ),
    Language(
        "Elixir", "countersign.ex", "elixir --short-version", "elixir -pa {built} {apps}/app.exs",
        "elixirc -o {built} {verifiers}/countersign.ex",
    ),
    Language(
        "Go", "countersign.go", "go version", "{built}/go/app",
        "cp -r {apps}/go {built} && cd {built}/go && mkdir -p countersign && "
        "cp {verifiers}/*.go countersign && go build -buildvcs=false -o app .",
    ),
    Language(
        "Java", "Countersign.java", "java --version", "java -cp {built} App",
        "javac -d {built} {verifiers}/Countersign.java {apps}/App.java", reads_odd_targets=False,
    ),
    Language(
        "C#", "Countersign.cs", "mono --version", "mono {built}/App.exe",
        "mcs -langversion:latest -out:{built}/App.exe {verifiers}/Countersign.cs {apps}/App.cs",
    ),
    Language(
        "C#, .NET", "Countersign.cs", "{apps}/../dotnet --list-runtimes", "{apps}/../dotnet {built}/App.dll",
        "{apps}/../dotnet build {built}/App.dll {verifiers}/Countersign.cs {apps}/App.cs",
    ),
    Language(
        "Rust", "countersign.rs", "rustc --version", "{built}/rust/debug/app",
        "cargo build --quiet --locked --manifest-path {apps}/rust/Cargo.toml --target-dir {built}/rust",
        longest=60, hangs_up=True,
    ),
]  # fmt: skip


def lines_of_code(path):
    """Without comments, blank lines, imports, and lines of nothing but brackets."""
    text = re.sub(r'^\s*("""|=begin).*?("""|=end)$|/\*.*?\*/|^import \(.*?^\)', "", path.read_text(), flags=re.S | re.M)
    left_out = re.compile(
        r"\s*(//|# |#$|#\[|--|<\?php|import |from .* import |using \S+;|using .*=|use |require|package |defmodule )"
        r"|[\s\])};,({]*$|\s*end$|\s*1;$"
    )
    return sum(not left_out.match(line) for line in text.splitlines())


def documented(language):
    """What the table in README.md says of it: lines, good accepted, tamperings refused."""
    [row] = re.findall(rf"^\| {re.escape(language)} \|.*$", (VERIFIERS / "README.md").read_text(), re.MULTILINE)
    _, _, lines, _, *counts = (cell.strip() for cell in row.strip("| ").split(" | "))
    return [lines, *counts]
