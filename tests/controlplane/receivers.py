"""Receivers of the tests' own: a web server and a mail server that keep what they get, with or without TLS."""

import base64
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Call:
    """One HTTP request."""

    path: str
    headers: dict[str, str]
    body: str


@dataclass
class WebReceiver:
    """Answers with the next of ``answers``, 200 otherwise; ``hold`` is called before each answer."""

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    hold: Callable[[], object] = lambda: None


@contextmanager
def web_receiver(certificate: Path | None = None) -> Iterator[WebReceiver]:
    """A web server on this machine, with TLS when it is given a certificate."""
    found = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.calls.append(Call(self.path, headers, body))
            found.hold()
            status = found.answers.pop(0) if found.answers else 200
            self.send_response(status)
            if status == 302:
                self.send_header("location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that trusts no such certificate goes away; that is what is tested."""

    server = Server(("127.0.0.1", 0), Handler)
    if certificate is not None:
        server.socket = tls(certificate).wrap_socket(server.socket, server_side=True)
    found.port = server.server_port
    with _serving(server):
        yield found


@dataclass
class Post:
    """One mail as it was handed over."""

    sender: str
    recipients: list[str]
    text: str
    was_encrypted: bool
    login: tuple[str, str] | None


@dataclass
class MailReceiver:
    """Refuses each MAIL with the next of ``answers`` while there is one."""

    port: int = 0
    posts: list[Post] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


class MailServer(socketserver.ThreadingTCPServer):
    """With a certificate it offers STARTTLS, or speaks TLS ``at_once``."""

    def __init__(self, found: MailReceiver, certificate: Path | None, *, at_once: bool) -> None:
        self.found, self.certificate, self.at_once = found, certificate, at_once
        super().__init__(("127.0.0.1", 0), MailConversation)

    def handle_error(self, *_: object) -> None:
        """A client that trusts no such certificate goes away; that is what is tested."""


class MailConversation(socketserver.StreamRequestHandler):
    """What a mail server says (RFC 5321, as far as a sender needs it)."""

    server: MailServer

    def handle(self) -> None:
        self.post = Post("", [], "", was_encrypted=False, login=None)
        if self.server.at_once:
            self._encrypt()
        self._say("220 receiver")
        while line := self.rfile.readline().decode().strip():
            word, _, rest = line.partition(" ")
            if word.upper() == "QUIT":
                self._say("221 bye")
                return
            getattr(self, f"on_{word.lower()}")(rest)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def _encrypt(self) -> None:
        assert self.server.certificate is not None
        self.connection = tls(self.server.certificate).wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", buffering=0)
        self.post.was_encrypted = True

    def on_ehlo(self, _: str) -> None:
        may_encrypt = self.server.certificate is not None and not self.post.was_encrypted
        for word in ("receiver", *(["STARTTLS"] if may_encrypt else [])):
            self._say(f"250-{word}")
        self._say("250 AUTH PLAIN")

    def on_starttls(self, _: str) -> None:
        self._say("220 go on")
        self._encrypt()

    def on_auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        self.post.login = (user, password)
        self._say("235 welcome")

    def on_mail(self, rest: str) -> None:
        self.post.sender = rest
        self._say(self.server.found.answers.pop(0) if self.server.found.answers else "250 ok")

    def on_rcpt(self, rest: str) -> None:
        is_known = "unknown" not in rest
        self.post.recipients += [rest] if is_known else []
        self._say("250 ok" if is_known else "550 nobody of that name")

    def on_rset(self, _: str) -> None:
        self._say("250 ok")

    def on_data(self, _: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self.rfile.readline().decode()) != ".\r\n":
            lines.append(line)
        self.post.text = "".join(lines)
        self.server.found.posts.append(self.post)
        self._say("250 taken")

    def finish(self) -> None:
        for file in (self.rfile, self.wfile, self.connection):
            file.close()


@contextmanager
def mail_receiver(certificate: Path | None = None, *, at_once: bool = False) -> Iterator[MailReceiver]:
    """A mail server on this machine."""
    found = MailReceiver()
    server = MailServer(found, certificate, at_once=at_once)
    found.port = server.server_address[1]
    with _serving(server):
        yield found


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def make_certificate(file: Path, name: str = "localhost") -> Path:
    """Write a certificate of a name, signed by itself, with its key; trusted by whoever is told to trust the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


def answer(*addresses: str) -> list[Any]:
    """What the resolver says of a name that has these addresses."""
    return [(2, 1, 6, "", (address, 443)) for address in addresses]
