"""The image by its Dockerfile as it stands, compiled inside, where no registry of images can be reached.

Not run with the others: it takes twenty minutes of two processors, four GB, debootstrap, and the network. What the
Dockerfile starts from is made here: the Debian of that name with a C compiler, and the Rust of this machine, which
has to be the one that is named. Options of yours for `podman build`, as a certificate for crates.io, are in
PODMAN_BUILD:

PODMAN_BUILD="--volume /etc/ssl/certs/ca-certificates.crt:/etc/ssl/certs/ca-certificates.crt:ro" bash run compiled
"""

import contextlib
import os
import re
import shutil
import tempfile

import image as looked_at
from harness import ROOT
from played import Podman

NEEDS = ["debootstrap", "podman", "runc", "rustc"]
PACKAGES = "ca-certificates,gcc,libc6-dev"
CARGO = "/usr/local/cargo"
PATH = f"{CARGO}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(cases, image):
    missing = [name for name in NEEDS if not shutil.which(name, path=looked_at.TOOLS)]
    missing += [] if os.geteuid() == 0 else ["root"]
    if not cases.check("compiled: all is there that it is compiled with", not missing, missing):
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, contextlib.ExitStack() as stack:
        podman = Podman(place)
        stack.callback(podman.end)
        have_base(podman, image.bases[0].split()[0])
        given = ["--pull=never", "--network=host", os.environ.get("PODMAN_BUILD", "")]
        podman.run("build", *given, "--file", f"{ROOT}/deploy/Dockerfile", "--tag", "countersign", str(ROOT))
        container = podman.run("create", "countersign")
        podman.run("cp", f"{container}:/countersign", "compiled")
        podman.run("rm", container)
        looked_at.BUILT = podman.place / "compiled"
        looked_at.program(cases)
        looked_at.made_of(cases)
        said = podman.run("run", "--rm", "--network=none", "--read-only", "countersign", "--version")
        named = f"countersign {looked_at.of_package('version')}"
        cases.check("compiled: runs where there is nothing else", said == named, said)
        more = podman.look("image", "countersign")["Size"] - looked_at.BUILT.stat().st_size
        cases.check("compiled: the image is as large as the program", 0 <= more < 10_000, more)


def have_base(podman, name):
    """Makes the image of this name, as far as the Dockerfile needs it."""
    version, suite = re.fullmatch(r"rust:(\S+)-slim-(\w+)", name).groups()
    rust, sysroot = (podman.shell(f"rustc {what}", ROOT).strip() for what in ("--version", "--print sysroot"))
    if not rust.startswith(f"rustc {version}."):
        raise RuntimeError(f"{name} is asked for, and here is {rust}")
    shell = lambda line: podman.shell(line, podman.place)
    shell(f"debootstrap --variant=minbase --include={PACKAGES} {suite} base")
    shell(f"cp --archive {sysroot}/bin/cargo {sysroot}/bin/rustc base/usr/local/bin/")
    shell(f"cp --archive {sysroot}/lib base/usr/local/")
    variables = f"--change 'ENV CARGO_HOME={CARGO}' --change 'ENV PATH={PATH}'"
    shell(f"tar --directory base --create . | podman import {variables} - docker.io/library/{name}")
