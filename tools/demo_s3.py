"""`make demo STORAGE=s3`: the demo with an S3 server of its own, and its best checkpoint brought back from there.

The server keeps its files in `runs/demo-s3/server`, so a second call finds everything done.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.seaweed import BUCKET, Seaweed

HOME = Path("runs/demo-s3")
STORE = f"s3://{BUCKET}/demo"


def main(arguments: list[str]) -> int:
    """Run the demo; `arguments` are given to `trmctl run`. Return the first exit code that is not 0."""
    server = Seaweed((HOME / "server").resolve())
    server.start()
    print(f"an S3 server answers at {server.endpoint}", file=sys.stderr)
    here = ["--set", f"storage.path={HOME / 'runs'}"]
    commands = [
        ["run", "-c", "configs/arc-demo.yaml", "--set", f"storage.remote={STORE}", *here, *arguments],
        ["list", "--store", STORE],
        ["show", "arc-demo", "--store", STORE],
        ["fetch", "arc-demo", "--best", "--store", STORE, "--to", str(HOME / "fetched")],
    ]
    try:
        for command in commands:
            print(f"\n$ trmctl {' '.join(command)}", file=sys.stderr, flush=True)
            program = str(Path(sys.executable).with_name("trmctl"))
            done = subprocess.run([program, *command], env=os.environ | server.environment, check=False)
            if done.returncode:
                return done.returncode
    finally:
        server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
