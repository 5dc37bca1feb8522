import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "deploy" / "verify"))
from countersign import Refused, secret, verify

key, request = sys.argv[1:]
try:
    verify(keys=secret(key), **json.loads(request))
    print("believed")
except Refused:
    print("refused")
