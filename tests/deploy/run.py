"""What `deploy/` describes, run as a container runtime and a cluster would run it.

The image's program alone in an empty root, the examples of `deploy/kubernetes` in one each, every manifest
built and held against Kubernetes' schemas, and the Pod for podman played by podman. See each file's first lines.
`bash run measured` runs one part, or those that are named; `compiled` only runs by its name, and alone.

Linux, as root. The run has a network and mounts of its own where it can: image and Pods name their ports.
"""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from harness import have_loopback, main

import boxed
import building
import compiled
import documented
import flooded
import image
import manifests
import measured
import played
import shaped


def alone():
    """Starts this run again in a network of its own, unless it is there already."""
    if os.environ.get("DEPLOY_ALONE"):
        have_loopback()
        return
    apart = [shutil.which("unshare", path=image.TOOLS) or "unshare", "--net"]
    apart += ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    if subprocess.run([*apart, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        os.execve(apart[0], [*apart, sys.executable, *sys.argv], os.environ | {"DEPLOY_ALONE": "1"})
    if os.geteuid() != 0:
        sys.exit("FAIL: neither root nor allowed to make namespaces: nothing of deploy/ was tried")
    print("no namespaces here: on this machine's network, so the ports of the image have to be free")


def run(cases):
    """All parts, or those that are named."""
    every = (image, building, manifests, shaped, documented, boxed, flooded, measured, played)
    parts = {part.__name__: part for part in every}
    if sys.argv[1:] == ["compiled"]:
        return compiled.run(cases, image.described())
    of_build = image.build()
    for name in sys.argv[1:] or parts:
        parts[name].run(cases, of_build)


if __name__ == "__main__":
    if sys.argv[1:] != ["compiled"]:  # which fetches what it is made of
        alone()
    main(run)
