"""What `helm test` runs: looks whether every file of a bundle is on its volume, whole and with its digest.

Believes the volume's manifest about digests, which the fetch pods write once they have hashed a file; the
files themselves are gigabytes. Needs nothing but Python. Settings come by the environment.
"""

import json
import os
import pathlib
import sys
import time

VOLUME = pathlib.Path(os.environ.get("VOLUME", "/bundle"))


def entries():
    """What the volume's manifest says, by the owner of each file, `BUNDLE/FILE`."""
    try:
        document = json.loads((VOLUME / ".sd-operator" / "manifest.json").read_text())
    except FileNotFoundError:
        return {}
    return {owner: entry for entry in document["files"] for owner in entry["owners"]}


def fault(file, entry):
    """Why the file is not as it should be; None when it is."""
    if entry is None:
        return "is not there yet"
    path = VOLUME / entry["path"]
    if not path.is_file():
        return f"is gone: {entry['path']}"
    if path.stat().st_size != entry["size"]:
        return f"has {path.stat().st_size} bytes, not {entry['size']}: {entry['path']}"
    # Of a pickle that is kept as safetensors, the digest that is known is that of the bytes fetched.
    if file["sha256"] and file["sha256"] not in (entry["sha256"], entry.get("source_sha256")):
        return f"has another digest than {file['sha256']}"
    return None


def main():
    files = json.loads(os.environ["FILES"])
    bundle = os.environ["BUNDLE"]
    until = time.monotonic() + int(os.environ["TIMEOUT_SECONDS"])
    while True:
        there = entries()
        faults = {file["name"]: fault(file, there.get(f"{bundle}/{file['name']}")) for file in files}
        if not any(faults.values()):
            break
        if time.monotonic() > until:
            sys.exit("".join(f"{bundle}/{name} {why}\n" for name, why in faults.items() if why))
        time.sleep(2)
    for file in files:
        entry = there[f"{bundle}/{file['name']}"]
        told = f"{entry['path']}, {entry['size']} bytes, sha256 {entry['sha256']}"
        sys.stdout.write(f"{bundle}/{file['name']}: {told}\n")


main()
