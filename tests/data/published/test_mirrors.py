import hashlib
import os
import re
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pooch
import pytest

from distlab.data.published import mirrors
from distlab.data.published.catalogue import PUBLISHED, Published
from distlab.errors import DistlabError

CONTENT = {f"file{i}.gz": bytes([i]) * 150_000 for i in range(4)}
FILES = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def published(*urls: str) -> Published:
    """The files above as a data set of these mirrors."""
    return Published("MNIST", "MNIST", urls, FILES, 1)


def assert_filled(folder: Path) -> None:
    """The folder holds the four right files and nothing else."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT


def assert_empty(folder: Path) -> None:
    assert not folder.exists() or not list(folder.iterdir())


def failure(folder: Path, *urls: str) -> DistlabError:
    with pytest.raises(DistlabError) as caught:
        mirrors.fetch(published(*urls), folder, progress=False)
    assert str(folder) in caught.value.asked
    assert "file0.gz" in caught.value.asked
    assert "data=mnist5k" in caught.value.fix
    assert "data.dir=/path/to/files" in caught.value.fix
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_a_sound_cache_needs_no_network(tmp_path: Path, make_mirror) -> None:
    mirror = make_mirror(CONTENT)
    mirrors.fetch(published(mirror.url), tmp_path / "new" / "cache", progress=False)
    assert_filled(tmp_path / "new" / "cache")
    assert mirror.requests == list(FILES)
    mirrors.fetch(published(mirror.url), tmp_path / "new" / "cache", progress=False)
    assert mirror.requests == list(FILES)


def test_a_damaged_cache_is_mended(tmp_path: Path, make_mirror) -> None:
    mirror = make_mirror(CONTENT)
    (tmp_path / "file2.gz").write_bytes(CONTENT["file2.gz"][:-1])
    mirrors.fetch(published(mirror.url), tmp_path, progress=False)
    assert_filled(tmp_path)


def refused(mirror) -> None:
    mirror.stop()
    mirror.stop = lambda: None


def absent(mirror) -> None:
    mirror.answers = {}


def corrupt(mirror) -> None:
    mirror.answers = {name: content[:-1] + b"x" for name, content in CONTENT.items()}


def login_page(mirror) -> None:
    mirror.answers = dict.fromkeys(CONTENT, b"<html>please log in</html>")


def truncated(mirror) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "150000")
        handler.end_headers()
        handler.wfile.write(bytes(75_000))
        handler.close_connection = True

    mirror.answers = dict.fromkeys(CONTENT, half)


def silent(mirror) -> None:
    mirror.answers = dict.fromkeys(CONTENT, lambda _: released.wait(30))


released = threading.Event()
FAULTS = {
    refused: "Connection refused",
    absent: "HTTP 404",
    corrupt: "SHA-256 differs",
    login_page: "SHA-256 differs",
    truncated: "IncompleteRead",
    silent: "no answer within 1 s",
}


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mirrors, "TIMEOUT_S", (1.0, 1.0))
    released.clear()
    yield
    released.set()


@pytest.mark.usefixtures("short_timeout")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_second_mirror_is_used_when_the_first_fails(tmp_path: Path, make_mirror, fault) -> None:
    bad, good = make_mirror(), make_mirror(CONTENT)
    fault(bad)
    mirrors.fetch(published(bad.url, good.url), tmp_path, progress=False)
    assert_filled(tmp_path)
    assert len(bad.requests) <= 1  # the mirror that worked goes first from then on
    assert good.requests == list(FILES)


@pytest.mark.usefixtures("short_timeout")
def test_when_all_mirrors_fail_each_reason_is_told(tmp_path: Path, make_mirror) -> None:
    bad = [make_mirror() for _ in FAULTS]
    for mirror, fault in zip(bad, FAULTS, strict=True):
        fault(mirror)
    unknown = "http://mirror.invalid/mnist"
    error = failure(tmp_path, *[mirror.url for mirror in bad], unknown, "http://[broken/")
    lines = str(error).splitlines()
    assert len(lines) == 1 + 1 + len(bad) + 2 + 3
    for mirror, reason in zip(bad, FAULTS.values(), strict=True):
        assert any(mirror.url in line and reason in line for line in lines), (mirror.url, reason)
    assert any(unknown in line and "resolve" in line.lower() for line in lines)
    assert all(len(line) < 250 for line in lines)
    assert_empty(tmp_path)


def test_what_one_mirror_delivered_stays_when_the_rest_fails(tmp_path: Path, make_mirror) -> None:
    mirror = make_mirror({"file0.gz": CONTENT["file0.gz"], "file1.gz": b"bad"})
    with pytest.raises(DistlabError, match=r"file1\.gz"):
        mirrors.fetch(published(mirror.url), tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file0.gz"]


def test_a_cache_that_cannot_be_made_or_written(tmp_path: Path, make_mirror) -> None:
    mirror = make_mirror(CONTENT)
    occupied = tmp_path / "occupied"
    occupied.write_bytes(b"a file where the folder should be")
    for folder in (occupied, occupied / "below"):
        error = failure(folder, mirror.url)
        assert "irectory" in error.found or "exists" in error.found
        assert "XDG_CACHE_HOME=" in error.fix
    assert mirror.requests == []
    assert occupied.read_bytes() == b"a file where the folder should be"


def test_a_read_only_cache(make_mirror, read_only_folder: Path) -> None:
    mirror = make_mirror(CONTENT)
    assert "ermission denied" in failure(read_only_folder, mirror.url).found


def test_a_full_disk(tmp_path: Path, make_mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def on_a_full_device(path: str) -> Iterator[str]:
        link = Path(path) / "temporary"
        link.symlink_to("/dev/full")
        yield str(link)

    first, second = make_mirror(CONTENT), make_mirror(CONTENT)
    monkeypatch.setattr(pooch.core, "temporary_file", on_a_full_device)
    assert "No space left on device" in failure(tmp_path, first.url, second.url).found
    assert second.requests == []  # another mirror would not help


def test_nothing_is_left_when_writing_stops_halfway(tmp_path: Path, make_mirror) -> None:
    mirror = make_mirror(CONTENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        error = failure(tmp_path, mirror.url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in error.found
    assert_empty(tmp_path)


def test_two_processes_fill_one_cache_at_once(tmp_path: Path, make_mirror) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def both_under_way(name: str) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            content = CONTENT[name]
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content[:70_000])
            meeting.wait()  # each has a part of the file before either has the whole
            handler.wfile.write(content[70_000:])

        return answer

    # Only the first: after it, one process may find what the other has already finished.
    mirror = make_mirror({**CONTENT, "file0.gz": both_under_way("file0.gz")})
    program = (
        "import sys; from pathlib import Path; from distlab.data.published import mirrors;"
        "from distlab.data.published.catalogue import Published;"
        "wanted = Published('MNIST', 'MNIST', (sys.argv[2],), eval(sys.argv[3]), 1);"
        "mirrors.fetch(wanted, Path(sys.argv[1]), progress=False)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "cache"), mirror.url, repr(FILES)]
    processes = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
        for _ in range(2)
    ]
    for process in processes:
        stderr = process.communicate(timeout=120)[1]
        assert process.returncode == 0, stderr
        assert stderr == ""
    assert mirror.requests.count("file0.gz") == 2
    assert_filled(tmp_path / "cache")


def test_progress_is_shown_on_standard_error_only_when_asked(
    tmp_path: Path, make_mirror, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror = make_mirror(CONTENT)
    mirrors.fetch(published(mirror.url), tmp_path / "quiet", progress=False)
    assert capfd.readouterr() == ("", "")
    mirrors.fetch(published(mirror.url), tmp_path / "shown", progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert [line for line in err.splitlines() if "file3.gz" in line and "150.0/150.0 kB" in line]
    mirrors.fetch(published(mirror.url), tmp_path / "shown", progress=True)
    assert capfd.readouterr().err.strip() == ""  # nothing to download, nothing to show


def test_the_cache_lies_in_the_users_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert mirrors.cache_folder() == tmp_path / "distlab" / "mnist"
    assert mirrors.cache_folder("kmnist") == tmp_path / "distlab" / "kmnist"


@pytest.mark.parametrize("name", PUBLISHED)
def test_there_is_more_than_one_mirror_and_the_first_is_encrypted(name: str) -> None:
    wanted = PUBLISHED[name]
    assert len(set(wanted.mirrors)) >= 2
    assert wanted.mirrors[0].startswith("https://")
    # What comes unencrypted is as safe, for it must have the checksum.
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in wanted.files.values())
    assert len(wanted.files) == (1 if name in ("emnist", "cifar10") else 4)
