"""What no server of HTTP hands on, and a framework may: texts with letters that are no bytes, and odd targets.

Handed to the verifiers whose language has texts of letters, without a server. A letter that one encoding or another
takes for the signed one must not be believed, and nothing may end in a failure.
"""

import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import TARGET, main
from languages import VERIFIERS
from run import DERIVED, IDENTITY, SECRET
from signing import signed

NAMES = [name for name in IDENTITY if name != "x-clerk-user-name"]
APPS, BUILT = HERE / "letters", TARGET / "verify" / "letters"
LANGUAGES = {  # how it is built and run; whether it takes its request as JSON
    "Node": ([], ["node", APPS / "letters.mjs"], True),
    "Python": ([], [sys.executable, APPS / "letters.py"], True),
    "Ruby": ([], ["ruby", APPS / "letters.rb"], True),
    "Java": (
        ["javac", "-d", BUILT, VERIFIERS / "Countersign.java", APPS / "Letters.java"],
        ["java", "-Dsun.jnu.encoding=UTF-8", "-cp", BUILT, "Letters"],
        False,
    ),
    "C#": (
        ["mcs", f"-out:{BUILT}/Letters.exe", VERIFIERS / "Countersign.cs", APPS / "Letters.cs"],
        ["mono", BUILT / "Letters.exe"],
        False,
    ),
    "C#, .NET": (
        [HERE / "dotnet", "build", BUILT / "Letters.dll", VERIFIERS / "Countersign.cs", APPS / "Letters.cs"],
        [HERE / "dotnet", BUILT / "Letters.dll"],
        False,
    ),
}


def run(cases):
    BUILT.mkdir(parents=True, exist_ok=True)
    for language, (build, command, reads_json) in LANGUAGES.items():
        if build:
            done = subprocess.run(build, capture_output=True, text=True)
            if not cases.check(f"{language}: is built", done.returncode == 0, done.stderr):
                continue
        for name, sent, signed_as, expected in [
            ("as it was signed", {}, {}, "believed"),
            ("Ł, whose lower half is an A", {"x-clerk-user-id": "user_Ł"}, {"x-clerk-user-id": "user_A"}, "refused"),
            ("Ł, which a best fit makes an L", {"x-clerk-user-id": "user_Ł"}, {"x-clerk-user-id": "user_L"}, "refused"),
            ("€, which Latin-1 has not", {"x-clerk-user-id": "user_€"}, {"x-clerk-user-id": "user_?"}, "refused"),
            ("é and another path of é", {"x-clerk-user-id": "é", "@path": "/é"}, {}, "refused"),
            ("a path of nothing", {"@path": ""}, {}, "refused"),
            ("a path of a question", {"@path": "?"}, {}, "refused"),
        ]:
            done = subprocess.run([*command, *asked(sent, signed_as, reads_json)], capture_output=True, text=True)
            said = done.stdout.strip()
            cases.check(f"{language}: {name}: {expected}", said == expected, (said, done.stderr))


def asked(sent, signed_as, reads_json):
    """The secret and the request as arguments."""
    usual = dict.fromkeys(NAMES, "") | {"x-clerk-user-id": "user_A", "@method": "GET", "@authority": "a", "@path": "/"}
    proof = signed(usual | signed_as, [*NAMES, *DERIVED], SECRET)
    lines = usual | sent
    headers = [("host", "a"), *((name, lines[name]) for name in NAMES), *proof]
    if reads_json:
        return [SECRET, json.dumps({"method": "GET", "target": lines["@path"], "headers": headers}, ensure_ascii=False)]
    return [SECRET, "GET", lines["@path"], *(word for pair in headers for word in pair)]


if __name__ == "__main__":
    main(run)
