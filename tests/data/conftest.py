import gzip
import os
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from numpy.typing import NDArray

Answer = bytes | Callable[[BaseHTTPRequestHandler], None]


class Mirror:
    """A real HTTP server on 127.0.0.1; ``answers`` maps a file name to bytes or a behaviour."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.requests: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                mirror.requests.append(name)
                answer = mirror.answers.get(name)
                if answer is None:
                    self.send_error(404)
                elif isinstance(answer, bytes):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                else:
                    answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/mnist/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening: a later connection to ``url`` is refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def make_mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Mirror]]:
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    mirrors: list[Mirror] = []

    def make(answers: Mapping[str, Answer] | None = None) -> Mirror:
        mirrors.append(Mirror(answers or {}))
        return mirrors[-1]

    yield make
    for mirror in mirrors:
        mirror.stop()


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode an array as IDX, written from the format's description alone."""

    def encode_idx(array: NDArray[np.uint8], compress: bool = False) -> bytes:
        header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
        content = header + array.tobytes()
        return gzip.compress(content, mtime=0) if compress else content

    return encode_idx


@pytest.fixture(scope="session")
def real_mnist() -> str:
    folder = os.environ.get("DISTLAB_DATA_DIR")
    if not folder:
        pytest.skip("REAL MNIST NOT TESTED: set DISTLAB_DATA_DIR to a folder with its IDX files")
    return folder
