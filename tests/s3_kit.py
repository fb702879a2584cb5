"""A real S3-compatible server in a process of its own, and a wire to it that can be slow or cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

BUCKET = "press"
_SERVE = "from moto.server import main; main()"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class S3:
    """The server. What it holds is gone with its process; ``down`` and ``up`` keep the port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.up()

    def up(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 120
        while True:
            with suppress(httpx.HTTPError):
                httpx.get(f"{self.url}/moto-api/", timeout=5)
                break
            assert time.monotonic() < until, "the S3 server does not start"
            time.sleep(0.1)

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self, service: str = "s3", **keys: str) -> Any:
        import boto3

        given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", **keys}
        return boto3.client(service, endpoint_url=self.url, region_name="us-east-1", **given)

    def bucket(self, name: str = BUCKET) -> str:
        self.client().create_bucket(Bucket=name)
        return name

    def names(self, name: str = BUCKET) -> list[str]:
        found = self.client().list_objects_v2(Bucket=name).get("Contents", [])
        return sorted(each["Key"] for each in found)

    def body(self, key: str, name: str = BUCKET) -> bytes:
        return bytes(self.client().get_object(Bucket=name, Key=key)["Body"].read())

    def strict(self) -> tuple[str, str]:
        """From now on keys are checked. Returns a pair that may do everything."""
        iam = self.client("iam")
        iam.create_user(UserName="writer")
        document = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}'
        iam.put_user_policy(UserName="writer", PolicyName="all", PolicyDocument=document)
        key = iam.create_access_key(UserName="writer")["AccessKey"]
        httpx.post(f"{self.url}/moto-api/reset-auth", content=b"0").raise_for_status()
        return key["AccessKeyId"], key["SecretAccessKey"]


@dataclass
class Wire:
    """A relay in front of a server. ``most``: bytes from the client after which the connection is cut; ``deaf``: the
    answer is lost, once all of the request has arrived; ``delay``: seconds before anything is passed on."""

    target: int
    most: int | None = None
    deaf: bool = False
    delay: float = 0.0
    cut: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.target), 5)
        except OSError:
            client.close()
            return
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        count = 0
        with suppress(OSError):
            while data := client.recv(65536):
                time.sleep(self.delay)
                count += len(data)
                if self.most is not None and count > self.most:
                    self.cut += 1
                    break
                server.sendall(data)
        for each in (client, server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.deaf:
                    # "100 Continue" is no answer yet; what came with it is
                    waits = data.startswith(b"HTTP/1.1 100")
                    go_on, end, answer = data.partition(b"\r\n\r\n") if waits else (b"", b"", data)
                    client.sendall(go_on + end)
                    if answer:
                        self.cut += 1
                        break
                    continue
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def serving() -> Iterator[S3]:
    """A server with a bucket, whose address and credentials are in the environment."""
    server = S3()
    server.bucket()
    with aws(server.url):
        yield server
    server.down()


@contextmanager
def wired(server: S3) -> Iterator[Wire]:
    wire = Wire(server.port)
    try:
        yield wire
    finally:
        wire.close()


@contextmanager
def aws(endpoint: str, key: str = "test", secret: str = "test") -> Iterator[None]:  # noqa: S107
    """The environment in which drivers find this server and these credentials."""
    given = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
