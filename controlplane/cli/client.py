"""The command line's side of the API: where the control plane is, who asks, and errors as they came."""

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from contracts.errors import InvalidInput, RoostError, Unavailable
from controlplane.statuses import CODES, kind_of

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
BASE = "/api/v1"


class Api:
    """One control plane over HTTP; connections are made when something is asked."""

    def __init__(self, url: str, token: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url, self._token, self._timeout_s = url.rstrip("/"), token, timeout_s
        self._client: httpx.Client | None = None

    @classmethod
    def find(cls, home: Path, server: str, token: str, *, timeout_s: float = TIMEOUT_S) -> Self:
        """Return the control plane that is named, or the one that runs on a home, whose own token is taken.

        Raises:
            InvalidInput: when ``server`` is no address.
            Unavailable: when none is named and none runs on the home.
        """
        if server:
            if urlsplit(server).scheme not in {"http", "https"} or not urlsplit(server).hostname:
                raise InvalidInput(f"server: {server!r} is no address", hint="write http://HOST:PORT")
            return cls(server, token, timeout_s=timeout_s)
        from controlplane.settings import Settings

        settings = Settings(home)
        url = read_server(settings.server_file).get("url", "")
        if not url:
            raise Unavailable(
                f"no control plane runs on {home}", hint=f"roost up --home {home}, or name another with --server"
            )
        return cls(url, token or _read_text(settings.cli_token), timeout_s=timeout_s)

    def get(self, path: str, **query: str | int | bool | None) -> Any:
        """Return what is at a path below the API's root; query arguments that are None are left out."""
        params = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", path, params=params)

    def items(self, path: str, *, at_most: int, **query: str | int | None) -> Iterator[Any]:
        """Yield a list's items, page by page."""
        cursor: str | int | None = None
        while at_most > 0:
            page = self.get(path, limit=min(at_most, 200), cursor=cursor, **query)
            yield from page["items"][:at_most]
            at_most -= len(page["items"])
            cursor = page.get("next")
            if cursor is None or not page["items"]:
                return

    def change(self, method: str, path: str, body: Mapping[str, Any] | None, **query: str | bool) -> Any:
        """Ask for a change; a lost answer is asked for once more under the same key, which changes nothing twice."""
        import httpx

        options: dict[str, Any] = {"params": query, "headers": {"idempotency-key": uuid.uuid4().hex}}
        if body is not None:
            options["json"] = dict(body)
        try:
            return self._send(method, path, **options)
        except Unavailable as error:
            if not isinstance(error.__cause__, httpx.ReadError | httpx.RemoteProtocolError):
                raise
            return self._send(method, path, **options)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _send(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        try:
            answer = self._connect().request(method, BASE + path, **options)
        except httpx.HTTPError as error:
            told = str(error) or type(error).__name__
            raise Unavailable(
                f"the control plane at {self.url} does not answer: {told}", hint="roost doctor looks why"
            ) from error
        if answer.is_success:
            return answer.json() if answer.content else None
        raise read_problem(answer.status_code, answer.text)

    def _connect(self) -> "httpx.Client":
        if self._client is None:
            import httpx

            headers = {"accept": "application/json"}
            if self._token:
                headers["authorization"] = f"Bearer {self._token}"
            # Without TLS there is nothing to verify, and reading the machine's certificates takes a tenth of a second.
            self._client = httpx.Client(
                base_url=self.url,
                headers=headers,
                timeout=self._timeout_s,
                trust_env=not _is_loopback(self.url),
                verify=self.url.startswith("https:"),
            )
        return self._client


def read_problem(status: int, text: str) -> RoostError:
    """Return an answer's ``application/problem+json`` as the error that it was on the other side."""
    try:
        told = json.loads(text)
        message = str(told.get("detail") or told.get("title") or f"the control plane answered {status}")
        code, hint = str(told.get("code") or ""), str(told.get("hint") or "")
    except (ValueError, AttributeError):
        message, code, hint = f"the control plane answered {status}: {text[:200]}", "", "is this a control plane?"
    return _rebuild(kind_of(code, status), message, hint)


def read_error(text: str) -> RoostError | None:
    """Return the error that ``RoostError.to_dict`` wrote as JSON, None when it is none."""
    try:
        told = json.loads(text)
        return _rebuild(CODES[told["code"]], str(told["message"]), str(told["hint"]))
    except (ValueError, KeyError, TypeError):
        return None


def _rebuild(kind: type[RoostError], message: str, hint: str) -> RoostError:
    # Its own words: a spec's mistakes are listed in them already.
    error = kind.__new__(kind)
    RoostError.__init__(error, message, hint=hint)
    return error


def read_server(file: Path) -> dict[str, Any]:
    """Return what a running control plane wrote about itself; empty where there is none, or it was killed."""
    if not file.is_file():
        return {}
    from controlplane.server.presence import read_presence

    return read_presence(file)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}
