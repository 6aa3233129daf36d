"""A real S3-compatible store on this machine (MinIO), and a network that loses its answers."""

import http.client
import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from programs import Program
from pyarrow import fs

from salesviews.machine import ports

MINIO = Path(os.environ.get("MINIO", Path.home() / ".cache" / "salesviews" / "bin" / "minio"))
"""`make test-s3` builds it."""

BUCKET = "sales"
KEY_ID = "tests"
KEY = "tests-secret-key"
REGION = "us-east-1"

_READY_S = 30.0


class ObjectStore:
    """MinIO with its data in a folder; it may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = ports.free()
        self._console = ports.free()
        self.start()
        self.file_system.create_dir(BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://{ports.LOOPBACK}:{self.port}"

    @property
    def file_system(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key=KEY_ID,
            secret_key=KEY,
            region=REGION,
            endpoint_override=f"{ports.LOOPBACK}:{self.port}",
            scheme="http",
            allow_bucket_creation=True,
        )

    def start(self) -> None:
        addresses = [f"{ports.LOOPBACK}:{port}" for port in (self.port, self._console)]
        command = [str(MINIO), "server", str(self.folder), "--address", addresses[0], "--console-address", addresses[1]]
        variables = {"MINIO_ROOT_USER": KEY_ID, "MINIO_ROOT_PASSWORD": KEY, "MINIO_UPDATE": "off"}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.program = Program(command, self.folder.with_suffix(".log"), variables)
        deadline_s = time.monotonic() + _READY_S
        while not self._is_ready():
            assert self.program.popen.poll() is None, self.program.output
            assert time.monotonic() < deadline_s, self.program.output
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(ports.LOOPBACK, self.port, timeout=5)
        try:
            connection.request("GET", "/minio/health/ready")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        self.program.kill()

    def close(self) -> None:
        self.program.close()

    def variables(self, prefix: str, endpoint: str | None = None) -> dict[str, str]:
        """The settings of a lake in this store."""
        return {
            "SALESVIEWS_LAKE": f"s3://{BUCKET}/{prefix}",
            "SALESVIEWS_S3_ENDPOINT": endpoint or self.endpoint,
            "SALESVIEWS_S3_ACCESS_KEY_ID": KEY_ID,
            "SALESVIEWS_S3_SECRET_ACCESS_KEY": KEY,
        }


class LossyNetwork:
    """Passes requests on to a store, and loses the answers that it is told to: the connection ends without one.

    :param loses: method and path of a request; the store has carried it out by then
    """

    def __init__(self, store: ObjectStore, loses: Callable[[str, str], bool]) -> None:
        self.lost: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(handler) -> None:  # noqa: N805 - self is the network
                body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection(ports.LOOPBACK, store.port, timeout=30)
                connection.request(handler.command, handler.path, body or None, dict(handler.headers))
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if answer.status == http.HTTPStatus.OK and loses(handler.command, handler.path):
                    self.lost.append(handler.path)
                    handler.close_connection = True
                    return
                handler.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding"):
                        handler.send_header(name, value)
                if handler.command != "HEAD" and answer.getheader("Content-Length") is None:
                    handler.send_header("Content-Length", str(len(content)))
                handler.end_headers()
                handler.wfile.write(content)

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = pass_on  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((ports.LOOPBACK, 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://{ports.LOOPBACK}:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
