"""Pages opened in headless Chromium from their files."""

import json
import re
import subprocess
from html import unescape
from pathlib import Path
from shutil import which
from typing import Any

import pytest


def opened(
    page: Path, profile: Path, probe: str, *options: str, at: str = ""
) -> tuple[dict[str, Any], str]:
    """What a probe found on a page, and what the browser complained of.

    Args:
        page: the file; a copy of it beside it is opened.
        profile: folder for the browser's own files.
        probe: stands before the end of the body, and writes JSON into the page's title.
        *options: of Chromium.
        at: the address behind the file, as "#runs".
    """
    browser = which("chromium") or which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine")
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", probe))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += [f"--user-data-dir={profile}", "--enable-logging=stderr", *options]
    # No name resolves, so a page that needs the network fails here.
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [*command, "--dump-dom", probed.as_uri() + at], capture_output=True, text=True, timeout=300
    )
    (title,) = re.findall(r"<title>(\{.*?\})</title>", done.stdout, re.DOTALL)
    return json.loads(unescape(title)), done.stderr
