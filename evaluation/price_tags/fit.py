"""Fits the tag reader on real digits: `python -m evaluation.price_tags.fit`.

Writes reader.npz and its SHA-256 beside this module; the same versions of numpy and scikit-learn
give the same bytes.
"""

import argparse
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from evaluation.price_tags.reader import FEATURES, cut_slots
from evaluation.price_tags.render import HEIGHT, SLOT, TOP, WIDTH, find_slots, load_digit_set

_SEED: Final = 7
_COPIES: Final = 4
_NOISE: Final = 0.03


def fit_reader() -> dict[str, NDArray[np.float32]]:
    """Fit the network on the train digits and changed copies of them; give its arrays.

    A copy is moved by up to one pixel and blurred or noised a little, since digits from a generator
    are never as crisp as scans.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    digits = load_digit_set("train")
    cells, labels = zip(*_vary(digits.coverage, digits.labels), strict=True)
    network = MLPClassifier((FEATURES,), alpha=1e-3, batch_size=128, max_iter=60, random_state=_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(np.concatenate(cells), np.concatenate(labels))
    (w1, w2), (b1, b2) = network.coefs_, network.intercepts_
    return {name: value.astype(np.float32) for name, value in {"w1": w1, "b1": b1, "w2": w2, "b2": b2}.items()}


def save_reader(arrays: dict[str, NDArray[np.float32]], folder: Path) -> Path:
    """Write reader.npz and reader.sha256 into the folder; give the path of the first."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path = folder / "reader.npz"
    path.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path.with_suffix(".sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
    return path


def _vary(
    coverage: NDArray[np.float32], labels: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    rng = np.random.default_rng(_SEED)
    yield _to_cells(coverage.astype(np.float64)), labels
    for _ in range(_COPIES):
        moved = [np.roll(digit, rng.integers(-1, 2, size=2), axis=(0, 1)) for digit in coverage]
        noisy = np.stack(moved) + rng.normal(scale=_NOISE, size=coverage.shape)
        yield _to_cells(np.clip(noisy, 0, 1)), labels


def _to_cells(coverage: NDArray[np.float64]) -> NDArray[np.float64]:
    column = find_slots(1)[0]
    tags = np.zeros((len(coverage), HEIGHT, WIDTH))
    tags[:, TOP : TOP + SLOT, column : column + SLOT] = coverage
    return np.concatenate([cut_slots(tag) for tag in tags])


def main() -> None:
    """Fit, save and tell where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of reader.npz")
    path = save_reader(fit_reader(), parser.parse_args().out)
    Console().print(f"wrote {path}")


if __name__ == "__main__":
    main()
