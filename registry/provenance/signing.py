"""Model signatures in the OpenSSF model-signing format, by local keys: sign, verify, require.

A signature covers every file, those that git would ignore too; a folder with anything more, or less, is refused.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from contracts.errors import IntegrityError, NotPermitted
from contracts.manifest import Manifest, make_manifest
from registry.provenance.dsse import make_statement, open_statement, sign_statement
from registry.provenance.keys import key_id

PREDICATE_TYPE: Final = "https://model_signing/signature/v1.0"


def sign_manifest(manifest: Manifest, name: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Return the signed bundle (JSON) of a manifest; ``name`` tells people what was signed."""
    resources = [
        {"name": path, "algorithm": "sha256", "digest": entry.sha256} for path, entry in sorted(manifest.files.items())
    ]
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": []},
        "resources": resources,
    }
    return sign_statement(make_statement([(name, _root(resources))], PREDICATE_TYPE, predicate), key)


def verify_manifest_signature(manifest: Manifest, bundle: str, keys: Sequence[ec.EllipticCurvePublicKey]) -> str:
    """Check that one of ``keys`` signed exactly the files of a manifest; return that key's id.

    Raises:
        IntegrityError: when the signature is another's, or names other files: changed, added or missing ones.
    """
    statement, signer = open_statement(bundle, keys)
    signed = _read_resources(statement)
    found = {path: entry.sha256 for path, entry in manifest.files.items()}
    differing = {
        "changed": [path for path in found.keys() & signed.keys() if found[path] != signed[path]],
        "missing": list(signed.keys() - found.keys()),
        "added": list(found.keys() - signed.keys()),
    }
    told = [f"{what}: {', '.join(sorted(paths)[:5])}" for what, paths in differing.items() if paths]
    if told:
        raise IntegrityError(
            f"the files are not those that were signed ({'; '.join(told)})", hint="restore them, or sign what is there"
        )
    return signer


def verify_directory(directory: Path, bundle: str, keys: Sequence[ec.EllipticCurvePublicKey]) -> str:
    """Check a directory against a signature, byte for byte; return the id of the key that signed it.

    Raises:
        InvalidInput: when it holds links, special files or empty folders, which no signature covers.
        IntegrityError: as ``verify_manifest_signature``.
    """
    return verify_manifest_signature(make_manifest(directory), bundle, keys)


class SignatureFolder:
    """Where the signatures of our versions are kept: by the digest of what was signed, then by key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sign(self, manifest: Manifest, name: str, key: ec.EllipticCurvePrivateKey) -> Path:
        """Sign a manifest and keep the bundle; return its path."""
        path = self._of(manifest) / f"{key_id(key.public_key())}.sigstore.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(sign_manifest(manifest, name, key))
        return unfinished.replace(path)

    def signers(self, manifest: Manifest) -> list[str]:
        """Return the ids of the keys under which signatures are kept; they are not verified by this."""
        return sorted(path.name.removesuffix(".sigstore.json") for path in self._of(manifest).glob("*.sigstore.json"))

    def require(self, manifest: Manifest, keys: Sequence[ec.EllipticCurvePublicKey]) -> str:
        """Return the id of a trusted key that signed a manifest.

        Raises:
            NotPermitted: when there is no signature by any of ``keys``.
            IntegrityError: when there is one under the name of a trusted key, and it is not right.
        """
        for key in keys:
            path = self._of(manifest) / f"{key_id(key)}.sigstore.json"
            if path.is_file():
                return verify_manifest_signature(manifest, path.read_text(errors="replace"), [key])
        raise NotPermitted(
            f"{manifest.digest} is not signed by a trusted key",
            hint="sign it: roost model sign MODEL@VERSION --key PATH",
        )

    def _of(self, manifest: Manifest) -> Path:
        return self._folder / manifest.digest.removeprefix("sha256:")


def _root(resources: Sequence[dict[str, str]]) -> str:
    """One SHA-256 over the digests of all files in the order of their names, as the format has it."""
    digest = hashlib.sha256()
    for resource in resources:
        digest.update(bytes.fromhex(resource["digest"]))
    return digest.hexdigest()


def _read_resources(statement: dict[str, Any]) -> dict[str, str]:
    """Return the signed files and their digests; whatever the format allows that would leave files out is refused."""
    try:
        predicate, (subject,) = statement["predicate"], statement["subject"]
        serialization, resources = predicate["serialization"], predicate["resources"]
        files = {row["name"]: row["digest"] for row in resources}
        whole = (
            statement["predicateType"] == PREDICATE_TYPE
            and serialization["method"] == "files"
            and serialization["hash_type"] == "sha256"
            and not serialization.get("ignore_paths")
            and not serialization.get("allow_symlinks")
            and all(row["algorithm"] == "sha256" for row in resources)
            and len(files) == len(resources) > 0
            and subject["digest"]["sha256"] == _root(resources)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        whole = False
    if not whole:
        raise IntegrityError(
            "the signature does not cover all files by SHA-256",
            hint="sign with ignore_git_paths off, method files, SHA-256",
        )
    return files
