"""The HTML printed to PDF, where Chromium is installed."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from contracts.errors import Unavailable

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-pdf-header-footer",
)  # fmt: skip
TIMEOUT_S = 120


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, None without one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def print_pdf(html: Path, pdf: Path) -> None:
    """Print a page of ours to PDF.

    Raises:
        Unavailable: without Chromium, or when it fails.
    """
    browser = find_chromium()
    if browser is None:
        raise Unavailable("no PDF: Chromium is not installed", hint="install Debian's chromium, or print the HTML")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={pdf}", html.resolve().as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable("no PDF: Chromium did not end", hint="print the HTML") from None
    if done.returncode != 0 or not pdf.is_file():
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise Unavailable(f"no PDF: Chromium failed: {last[0][:200]}", hint="print the HTML")
