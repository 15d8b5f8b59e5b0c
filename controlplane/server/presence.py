"""What a running control plane leaves in its home for the commands on this machine: where it is and what it said."""

import json
import os
from pathlib import Path
from typing import Any

from controlplane.settings import Settings
from serving.beginnings import read_began_ticks


def write_presence(settings: Settings, told: dict[str, Any]) -> dict[str, Any]:
    """Write where this process answers, whole or not at all; return what was written."""
    pid = os.getpid()
    document = {**told, "pid": pid, "began_ticks": read_began_ticks(pid)}
    draft = settings.server_file.with_suffix(".draft")
    draft.write_text(json.dumps(document, indent=2), encoding="utf-8")
    draft.replace(settings.server_file)
    return document


def read_presence(file: Path) -> dict[str, Any]:
    """Return what a running control plane wrote about itself; empty where there is none, or it was killed."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        is_alive = read_began_ticks(int(told["pid"])) == told["began_ticks"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(told) if is_alive else {}


def remove_presence(settings: Settings) -> None:
    """Remove what this process wrote, and nobody else's."""
    if read_presence(settings.server_file).get("pid") == os.getpid():
        settings.server_file.unlink(missing_ok=True)


def read_first_token(file: Path) -> str:
    """Return the token that lies in a home, "" where there is none."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def start_lines(server: dict[str, Any]) -> list[str]:
    """Return what a person is told once a control plane answers."""
    return [
        f"✔ control plane {server['url']}   API {server['url']}/api/v1",
        f"✔ gateway {server['gateway_url']}   clients of services call this",
    ]


def token_line(settings: Settings, token: str) -> str:
    """Return how the first token is told, this once."""
    return f"✔ admin token, shown this once: {token}   (kept for commands here: {settings.cli_token})"


def ending_line(home: Path) -> str:
    """Return how a control plane in the background is ended."""
    return f"  log {Settings(home).logs / 'server.log'}; end it with: roost down --home {home}"
