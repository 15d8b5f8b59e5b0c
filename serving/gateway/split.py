"""The split: sticky, monotone, salted assignment of requests to the two arms of a rollout."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from contracts.wire.routing import Split


@lru_cache(maxsize=1 << 14)
def unit_interval(salt: str, key: str) -> float:
    """Return u in [0, 1) for a key under a salt: the same on every gateway and after every restart.

    blake2b and not a checksum, because salted checksums correlate between salts, and so would rollouts.
    """
    salted = _salted(salt).copy()
    salted.update(key.encode())
    return (int.from_bytes(salted.digest(), "big") >> 11) / 2**53


@lru_cache(maxsize=256)
def _salted(salt: str) -> "hashlib.blake2b":
    return hashlib.blake2b(key=salt.encode(), digest_size=8)


@dataclass(frozen=True, slots=True)
class Arms:
    """A routing table's split in plain fields, which are looked up at a third of a document's cost."""

    rollout_id: str
    salt: str
    weight: float
    mirror_share: float

    @classmethod
    def of(cls, split: Split) -> "Arms":
        """Return the arms of a split."""
        return cls(split.rollout_id, split.salt, split.weight, split.mirror_share)


def goes_to_challenger(split: Arms, key: str) -> bool:
    """Tell whether a key belongs to the challenger at the split's weight.

    Monotone: raising the weight never moves a challenger's key back, lowering it never moves a champion's forward.
    """
    return unit_interval(split.salt, key) < split.weight


def is_mirrored(split: Arms, request_id: str) -> bool:
    """Tell whether a champion's request is copied to the challenger; independent of the live split."""
    return int(request_id[2:10], 16) < split.mirror_share * 2**32  # the id's digits are random: no need to hash them


def is_sampled(share: float, request_id: str, index: int) -> bool:
    """Tell whether one of a request's pictures is kept for the scorers; the same for both halves of a mirrored pair."""
    if index:
        return unit_interval("score", f"{request_id}.{index}") < share
    return int(request_id[-8:], 16) < share * 2**32  # other digits than those that choose copies
