"""The README's pictures, of a real study: its terminal, its report's figure, its runs in MLflow.

``make pictures`` runs the quickstart's command in a temporary folder and on a terminal of 80
columns, then writes ``terminal.svg``, ``throughput.svg`` and ``mlflow.png`` beside this file, and
the day and the conditions into the README. Nothing is written unless all of it was made. It needs
Chromium or Chrome, found by name or by ``CHROMIUM=PATH``; aiohttp and Pillow come with MLflow and
matplotlib. Run it on an idle machine: a run on a noisy one counts for no figure.
"""

import asyncio
import base64
import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image
from rich.console import Console
from rich.text import Text

from distlab.outcome.caveats import counts
from distlab.tracking.pages import views

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
COLUMNS, ROWS = 80, 40
SCREEN = (1280, 1100)
SETTLED_S, PATIENCE_S = 3, 120
COLOURS = 96
BYTES_AT_MOST, BYTES_IN_ALL = 150_000, 400_000
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
PANEL_SHUT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
"""What keeps MLflow's assistant from opening over the charts when it's seen for the first time."""
BUTTONS_AWAY = (
    "document.head.insertAdjacentHTML('beforeend', '<style>.modebar{display:none}</style>')"
)
"""What hides the buttons that lie over each chart where there is no mouse to move over it."""
MOVES = re.compile(r"(\r\n|\r|\n|\x1b\[\??[\d;]*[A-Za-z])")
CAPTION = re.compile(r"(<!-- conditions -->\n).*?(<!-- end of conditions -->)", re.DOTALL)


def main(words: list[str]) -> None:
    """Make all pictures of the command ``python WORDS``, which runs a study."""
    browser = find_browser()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        run, made = folder / "run", folder / "made"
        run.mkdir()
        made.mkdir()
        shown = f"$ python {' '.join(words)}\n{record([sys.executable, *words], run)}"
        studies = list(run.glob("outputs/*/*/study.json"))
        if len(studies) != 1:
            raise SystemExit(f"make pictures: the command left {len(studies)} studies, not one")
        study = json.loads(studies[0].read_text())
        figures = sorted(studies[0].parent.glob("report/plots/throughput-*.svg"))
        if not figures:
            raise SystemExit("make pictures: no run counts, so no figure was drawn")
        (made / "terminal.svg").write_text(terminal(shown.replace(f"{run}/", "")))
        shutil.copy(figures[0], made / "throughput.svg")
        with mlflow_ui(run) as server:
            page = views.address(server, study["experiment_id"], study["study"])
            png = asyncio.run(photograph(browser, page, folder / "profile"))
        picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS)
        picture.save(made / "mlflow.png", optimize=True)
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        if max(sizes.values()) > BYTES_AT_MOST or sum(sizes.values()) > BYTES_IN_ALL:
            raise SystemExit(f"make pictures: too large for the repository: {sizes} bytes")
        text = captioned(README.read_text(), conditions(study, f"python {' '.join(words)}"))
        for path in made.iterdir():
            shutil.copy(path, HERE)
        README.write_text(text)
    print(f"wrote {', '.join(sizes)} ({sum(sizes.values()):,} bytes): look at them")  # noqa: T201


def find_browser() -> str:
    """The browser's path; an end with a plain message where there is none."""
    names = [os.environ["CHROMIUM"]] if "CHROMIUM" in os.environ else BROWSERS
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SystemExit(
            f"make pictures: needs Chromium or Chrome; there is no {', '.join(names)}\n"
            "try: install the package chromium, or CHROMIUM=PATH make pictures"
        )
    return found


def record(command: list[str], folder: Path) -> str:
    """All that a command writes on a terminal of its own; SystemExit if it fails."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment = {**inherited, "TERM": "xterm-256color"}
    with group(command, cwd=folder, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        output = b""
        # A terminal whose last writer has gone answers with an error.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65536):
                output += part
        os.close(ours)
        code = process.wait()
    text = output.decode()
    if code:
        raise SystemExit(f"make pictures: the command ended with {code}:\n{settled(text)[-4000:]}")
    return text


@contextlib.contextmanager
def group(command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process in a group of its own, which is ended with all that it started."""
    process = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield process
    finally:
        for number, patience in ((signal.SIGINT, 20), (signal.SIGKILL, 5)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def settled(output: str) -> str:
    """What is on the terminal in the end, of lines that were written over; colours stay."""
    lines, row, again = [""], 0, False
    for piece in MOVES.split(output):
        if piece in ("\r\n", "\n"):
            row, again = row + 1, False
            lines += [""] * (row == len(lines))
        elif piece == "\r":
            again = True
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row = max(0, row - int(piece[2:-1] or 1))
        elif piece and (piece.endswith("m") or not MOVES.fullmatch(piece)):
            lines[row] = piece if again else lines[row] + piece
            again = False
    return "\n".join(lines).rstrip()


def terminal(output: str) -> str:
    """What a terminal shows as an SVG of text, whose fonts are the reader's own."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), color_system="256", highlight=False
    )
    for line in settled(output).split("\n"):
        text = Text.from_ansi(line)
        # Broken where a terminal breaks a line: at its edge.
        for part in text.divide(range(COLUMNS, len(text), COLUMNS)):
            console.print(part, no_wrap=True, overflow="ignore", crop=False)
    svg = console.export_svg(title="distlab", unique_id="terminal")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


@contextlib.contextmanager
def mlflow_ui(folder: Path) -> Iterator[str]:
    """MLflow's UI of a folder's store, on loopback; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", "sqlite:///mlruns/mlflow.db", "--workers", "1"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with group(command, cwd=folder, env={**os.environ, **QUIET}, **silent) as server:
        until = time.monotonic() + PATIENCE_S
        while server.poll() is None and time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        else:
            raise SystemExit("make pictures: MLflow's UI did not start")
        yield f"http://127.0.0.1:{port}"


async def photograph(browser: str, page: str, profile: Path) -> bytes:
    """A PNG of a page of MLflow's, once its charts are drawn; nothing but loopback is reached."""
    command = [browser, "--headless=new", "--disable-gpu", "--disable-quic", "--hide-scrollbars"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
    command += ["--no-sandbox"] * (os.geteuid() == 0)
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with group(command, **silent) as process:
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as session:
            told = profile / "DevToolsActivePort"
            while not (told.exists() and told.read_text()):
                if process.poll() is not None:
                    raise SystemExit(f"make pictures: {browser} ended with {process.returncode}")
                await asyncio.sleep(0.2)
            devtools = f"http://127.0.0.1:{told.read_text().split()[0]}"
            async with session.put(f"{devtools}/json/new?about:blank") as answer:
                tab = (await answer.json(content_type=None))["webSocketDebuggerUrl"]
            async with session.ws_connect(tab, max_msg_size=0) as socket_of_tab:
                return await _charts(socket_of_tab, page)


async def _charts(tab: aiohttp.ClientWebSocketResponse, page: str) -> bytes:
    """Open the page in the tab, wait until no further chart appears, and take the picture."""

    async def ask(method: str, **parameters: Any) -> Any:
        await tab.send_json({"id": 1, "method": method, "params": parameters})
        while "id" not in (answer := await tab.receive_json()):
            pass
        return answer["result"]

    await ask("Page.enable")
    await ask("Page.addScriptToEvaluateOnNewDocument", source=PANEL_SHUT)
    width, height = SCREEN
    await ask(
        "Emulation.setDeviceMetricsOverride",
        **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    await ask("Page.navigate", url=page)
    drawn, since = 0, time.monotonic()
    while not drawn or time.monotonic() - since < SETTLED_S:
        await asyncio.sleep(0.2)
        charts = "document.querySelectorAll('.js-plotly-plot .main-svg').length"
        found = (await ask("Runtime.evaluate", expression=charts))["result"]["value"]
        if found != drawn:
            drawn, since = found, time.monotonic()
    await ask("Runtime.evaluate", expression=BUTTONS_AWAY)
    picture = await ask("Page.captureScreenshot", format="png")
    return base64.b64decode(picture["data"])


def conditions(study: dict[str, Any], command: str) -> str:
    """When and on what a study ran, as the pictures' caption."""
    environment, runs = study["environment"], study["runs"]
    packages = environment["packages"]
    frameworks = {run["framework"]: run["framework_version"] for run in runs}
    versions = {**frameworks, "Ray": packages["ray"], "MLflow": packages["mlflow"]}
    work = dict.fromkeys(f"{run['model']} on {run['data']}" for run in runs)
    counted = sum(counts(run) for run in runs)
    return (
        f"Made by `make pictures` on {study['started'][:10]}: {environment['processor']}, "
        f"{environment['cpus']} cores, Python {environment['python'].split()[0]}, "
        f"{', '.join(f'{name} {version}' for name, version in versions.items())}, distlab "
        f"{study['distlab_version']}; {', '.join(work)} by `{command}`, of whose {len(runs)} runs "
        f"{counted} count. "
        "Paths are shortened."
    )


def captioned(readme: str, caption: str) -> str:
    """The README with another caption between its marks."""
    text, found = CAPTION.subn(lambda marks: f"{marks[1]}{caption}\n{marks[2]}", readme)
    if found != 1:
        raise SystemExit("make pictures: README.md has no place for the pictures' conditions")
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
