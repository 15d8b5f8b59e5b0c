"""DSSE envelopes in Sigstore bundles (v0.3): how signed statements are written down.

Sources: the DSSE protocol (PAE, version 1), the in-toto Statement v1, the Sigstore bundle format v0.3.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from contracts.errors import IntegrityError
from registry.provenance.keys import key_id

MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
LONGEST_BUNDLE: Final = 64 << 20


def make_statement(
    subjects: Sequence[tuple[str, str]], predicate_type: str, predicate: dict[str, Any]
) -> dict[str, Any]:
    """Return an in-toto statement about subjects, each a name and a SHA-256 in hexadecimal."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def sign_statement(statement: dict[str, Any], key: ec.EllipticCurvePrivateKey) -> str:
    """Return the bundle (JSON) of a statement signed with ECDSA over SHA-256."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    signature = key.sign(_pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    bundle = {
        "mediaType": MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(bundle)


def open_statement(bundle: str, keys: Sequence[ec.EllipticCurvePublicKey]) -> tuple[dict[str, Any], str]:
    """Return the statement in a bundle and the id of the key that signed it, which is one of ``keys``.

    Raises:
        IntegrityError: when it is no bundle of this kind, or none of the keys signed it.
    """
    try:
        if len(bundle) > LONGEST_BUNDLE:
            raise ValueError("too long")
        document = json.loads(bundle)
        envelope = document["dsseEnvelope"]
        (signed,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(signed["sig"], validate=True)
        fits = document["mediaType"] == MEDIA_TYPE and envelope["payloadType"] == PAYLOAD_TYPE
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        fits = False
    if not fits:
        raise IntegrityError("this is not a Sigstore bundle (v0.3) with one signature", hint="sign again")
    signer = next((key for key in keys if _signed_by(key, signature, payload)), None)
    if signer is None:
        raise IntegrityError("none of the given keys signed this", hint="is it the right public key? was it changed?")
    statement = json.loads(payload)
    if not isinstance(statement, dict) or statement.get("_type") != STATEMENT_TYPE:
        raise IntegrityError("what was signed is not an in-toto statement", hint="sign again")
    return statement, key_id(signer)


def _signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, _pre_authentication_encoding(payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _pre_authentication_encoding(payload: bytes) -> bytes:
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
