"""What is secret, written where it does not belong: in a setting, in the file of settings, as an argument."""

import re
import tempfile

from harness import ROOT


def tried(cases, search, run, home):
    """What is secret, written where it does not belong."""
    pem = (home / "keys" / "first.pem").read_text()
    password = search.canaries.new("a password in a setting")
    plain = search.canaries.new("a secret in a setting")
    clerks = search.canaries.new("a secret key in a setting", "sk_live_")
    for name in variables():
        for kind, value in ("Clerk's secret key", clerks), ("a private key", pem):
            done = run(f"check, {kind} as {name}", ["check"], **{name: value})
            # What was understood is printed, and a name may be anything.
            if done.returncode == 0:
                search.written.pop(f"check, {kind} as {name}")
    for name in SECRETS:
        run(f"check, a secret as {name}", ["check"], **{name: plain})
    for name in ADDRESSES:
        for at in "127.0.0.1:99999", "127.0.0.1:9/a b", "a.test":
            run(f"check, a password as {name}", ["check"], **{name: f"https://user:{password}@{at}/"})
    for arguments in (
        ["explain", "Bearer", plain], ["explain", "--token", plain],
        ["check", f"--secret-key={plain}"], ["check", "--signing-secret", plain],
        ["explain", "-H", f"Authorization {plain}"], ["explain", "-H", f"Authorization: \x01{plain}"],
        ["explain", "--cookie", plain], ["explain", "--url", f"https://user:{password}@a.test/"],
    ):  # fmt: skip
        run(" ".join(arguments).replace(plain, "…").replace(password, "…"), arguments)
    any_port = {
        "COUNTERSIGN_UPSTREAM": "",
        "COUNTERSIGN_LISTEN": "127.0.0.1:0",
        "COUNTERSIGN_ADMIN_LISTEN": "127.0.0.1:0",
    }
    done = run("serve, with a backend that ends", ["serve", "--", "sh", "-c", f": {plain}; exit 3"], **any_port)
    cases.check("a backend that ends: its status", done.returncode == 3, done)
    for arguments in [plain], ["check", plain]:
        if plain in str(run("a word nobody expects", arguments)):
            search.met.add("a word nobody expects")
    search.written.pop("a word nobody expects")
    for text in (
        plain,
        f"signing.secret = {plain}",
        f'signing.secret = "{plain}" x',
        f'signing.secret_file = """{plain}\n"""',
        f'signing = "{plain}"',
        f'clerk.secret_key = "{clerks}"',
        f'mode = "{clerks}"',
        f'[[route]]\npath = "{clerks}"',
        f'[[issuer]]\nurl = "https://a:{password}@b"',
        f'[[issuer]]\nurl = "https://a.test"\naudience = "any"\njwks_url = "http://a.test/?k={plain}"',
    ):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            shown = text.replace(plain, "…").replace(clerks, "…").replace(password, "…").replace("\n", " ")
            done = run(f"check of {shown}", ["check", "--config", file.name])
            cases.check(f"a mistake: {shown}", done.returncode == 78, done)


# Settings that hold a secret, or name a file that does.
SECRETS = """
CLERK_SECRET_KEY CLERK_SECRET_KEY_FILE CLERK_JWT_KEY COUNTERSIGN_SIGNING_SECRET COUNTERSIGN_SIGNING_SECRET_FILE
COUNTERSIGN_SIGNING_KEYS_DIR COUNTERSIGN_TLS_KEY_FILE COUNTERSIGN_UPSTREAM_KEY_FILE
""".split()
# Settings that hold an address, in which a password may stand.
ADDRESSES = """
COUNTERSIGN_UPSTREAM COUNTERSIGN_PUBLIC_URL COUNTERSIGN_AUTHORIZED_PARTIES COUNTERSIGN_CLERK_JWKS_URL CLERK_FAPI_URL
CLERK_API_URL CLERK_SIGN_IN_URL CLERK_PROXY_URL CLERK_DOMAIN HTTPS_PROXY
""".split()


def variables():
    """The variable of every setting that README.md lists."""
    table = (ROOT / "README.md").read_text().split("| key | flag · short variable |")[1].split("\n\n")[0]
    keys = {key for row in table.splitlines() for key in re.findall(r"`([a-z_0-9.]+)`", row.split("|")[1])}
    return sorted("COUNTERSIGN_" + key.upper().replace(".", "_") for key in keys)
