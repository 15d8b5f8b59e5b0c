"""Signing keys: EC P-256, kept as local files that only their owner may read."""

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.errors import InvalidInput, NotFound, NotPermitted


def generate_key(path: Path) -> Path:
    """Write a new private key to ``path`` (mode 0600) and its public key beside it (``.pub``); return the latter.

    Raises:
        InvalidInput: when either file exists: a key is never overwritten.
    """
    public = path.with_name(path.name + ".pub")
    if path.exists() or public.exists():
        raise InvalidInput(f"{path} or its .pub exists already", hint="choose another name; keys are never overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write_new(path, private_pem, 0o600)
    _write_new(public, _public_bytes(key.public_key(), serialization.Encoding.PEM), 0o644)
    return public


def load_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key.

    Raises:
        NotFound: when there is no such file.
        NotPermitted: when others than its owner may read it.
        InvalidInput: when it holds no EC P-256 key.
    """
    content = _read(path)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise NotPermitted(f"{path} can be read by others than its owner", hint=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _no_key(path, "private") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(path, "private")
    return key


def load_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key.

    Raises:
        NotFound: when there is no such file.
        InvalidInput: when it holds no EC P-256 public key.
    """
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise _no_key(path, "public") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _no_key(path, "public")
    return key


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a public key's PEM form: what a bundle of the model-signing format names as its key."""
    return hashlib.sha256(_public_bytes(key, serialization.Encoding.PEM)).hexdigest()


def _public_bytes(key: ec.EllipticCurvePublicKey, encoding: serialization.Encoding) -> bytes:
    return key.public_bytes(encoding, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write_new(path: Path, content: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise NotFound(f"there is no key at {path}", hint="roost model keygen PATH makes one")
    return path.read_bytes()


def _no_key(path: Path, kind: str) -> InvalidInput:
    return InvalidInput(f"{path} holds no EC P-256 {kind} key in PEM", hint="roost model keygen PATH makes one")
