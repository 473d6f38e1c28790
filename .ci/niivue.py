"""``make niivue VERSION=0.69.0``: replaces NiiVue, by which pages show their cases."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "@niivue/niivue"
FILE = "niivue.umd.js"
FOLDER = Path(__file__).parents[1] / "nacl_monai/reports/niivue"


def main(version: str) -> None:
    """Takes the library from npm, and writes which version and checksum it has; the license stays."""
    npm = shutil.which("npm") or sys.exit("npm: is missing; install Node.js")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", f"{PACKAGE}@{version}"], cwd=folder, check=True)
        (packed,) = Path(folder).glob("*.tgz")
        with tarfile.open(packed) as archive:
            library = archive.extractfile(f"package/dist/{FILE}")
            about = archive.extractfile("package/package.json")
            assert library is not None
            assert about is not None
            text, known = library.read(), json.load(about)
    record = {
        "package": PACKAGE,
        "version": known["version"],
        "license": known["license"],
        "sha256": hashlib.sha256(text).hexdigest(),
    }
    (FOLDER / FILE).write_bytes(text)
    (FOLDER / "version.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {FOLDER / FILE}: {record}")


if __name__ == "__main__":
    main(*sys.argv[1:])
