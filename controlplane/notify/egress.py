"""Calls to the outside: a name is resolved once, its addresses are checked, and what was checked is what is called."""

import hashlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from contracts.errors import InvalidInput

TIMEOUT_S = 5.0
NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Reach = Callable[[str, Address], bool]
"""Whether a host's address may be called; the host is as it was written."""


def post(url: str, body: bytes, headers: Mapping[str, str], may_reach: Reach) -> str:
    """Post once and return why it was not taken, "" when it was. No redirect or proxy is followed, no answer is read.

    Certificates are those that the system trusts (``SSL_CERT_FILE``). Nothing is logged: addresses may be secrets.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        if parts.scheme not in {"http", "https"} or not host:
            raise InvalidInput("the address is no web address", hint="write https://HOST/PATH")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = resolve(host, port, may_reach)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        told = {**headers, "host": parts.netloc.rpartition("@")[2], "connection": "close"}
        with closing(HTTPConnection(host, port)) as connection:
            connection.sock = connect(address, port, TIMEOUT_S)
            if parts.scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
            connection.request("POST", path, body, told)
            with connection.getresponse() as answer:
                return "" if 200 <= answer.status < 300 else f"answered {answer.status}"
    except InvalidInput as error:
        return error.message
    except (HTTPException, OSError, ValueError) as error:
        return f"no answer ({type(error).__name__})"


def resolve(host: str, port: int, may_reach: Reach) -> Address:
    """Return the address to call, when all that a host has may be called.

    Raises:
        InvalidInput: when one may not.
        OSError: when it has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: Sequence[Address] = [ipaddress.ip_address(str(row[4][0]).partition("%")[0]) for row in found]
    if not addresses or not all(may_reach(host, plain(address)) for address in addresses):
        raise InvalidInput("its name resolves to an address of this network, or to one that may not be called")
    return addresses[0]


def connect(address: Address, port: int, timeout_s: float) -> socket.socket:
    """Return a connection to an address, without asking for a name again."""
    found = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET)
    try:
        found.settimeout(timeout_s)
        found.connect((str(address), port))
    except BaseException:
        found.close()
        raise
    return found


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the internet: not to this machine, a private network, a link or a group."""
    return address.is_global and not address.is_multicast


def is_near_literal(host: str) -> bool:
    """Tell whether a host is written as an address of this machine or of a private network."""
    if host == "localhost":
        return True
    try:
        return not is_public(plain(ipaddress.ip_address(host)))
    except ValueError:
        return False


def signature(secret: bytes, timestamp: str, body: str) -> str:
    """Return the HMAC-SHA256 of ``timestamp.body``, hexadecimal; a receiver computes the same and compares."""
    return hmac.new(secret, f"{timestamp}.{body}".encode(), hashlib.sha256).hexdigest()


def signed_headers(secret: bytes, *, key: str, at_s: float, body: str) -> dict[str, str]:
    """Return the headers of a signed call; ``key`` is the same whenever the same thing is told again."""
    stamp = f"{at_s:.0f}"
    return {
        "content-type": "application/json",
        "idempotency-key": key,
        "x-roost-timestamp": stamp,
        "x-roost-signature": f"v1={signature(secret, stamp, body)}",
    }


def without_secrets(url: str) -> str:
    """Return an address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
