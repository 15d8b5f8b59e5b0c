"""Training of the autoencoder that maps a 32x64 tag to a latent of 16 channels, 4x8."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from controlplane.demo.model.build import build_vae
from controlplane.demo.model.optimiser import Optimiser
from controlplane.demo.model.rescale import rescale_decoder
from controlplane.demo.model.settings import Report, VaeSettings
from evaluation.price_tags.grammar import sample_texts
from evaluation.price_tags.render import draw_tags

_SCALE_SAMPLE: Final = 256
"""Tags from which the latents' spread is taken."""

_RESCALE_SAMPLE: Final = 32
"""Tags from which the spread inside the decoder is taken."""


def to_tensor(tags: NDArray[np.uint8]) -> Any:
    """Turn pictures (n, height, width, 3) of 0..255 into the network's (n, 3, height, width) in [-1, 1]."""
    import torch

    return torch.from_numpy(tags).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def train_vae(settings: VaeSettings, rng: np.random.Generator, report: Report) -> Any:
    """Train the autoencoder on tags of the train digits; its scaling_factor makes latents unit-wide.

    The loss is the sum of absolute and squared error of a pixel in [-1, 1], plus a light KL term
    that keeps the latents near a normal distribution. Torch's own generator must be seeded.
    """
    vae = build_vae()
    optimiser = Optimiser(vae, matrix_rate=settings.matrix_rate, other_rate=settings.other_rate, steps=settings.steps)
    for step in range(settings.steps):
        # Long strings teach more strokes for the same time; short ones hold nothing else.
        texts = sample_texts(settings.batch, rng, withheld=False, fewest_digits=3)
        tags = to_tensor(draw_tags(texts, "train", rng))
        posterior = vae.encode(tags).latent_dist
        error = vae.decode(posterior.sample()).sample - tags
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        loss = error.abs().mean() + error.square().mean() + settings.kl_weight * divergence
        report(step + 1, optimiser.descend(loss))
    _set_scale(vae.eval(), rng)
    return vae


def encode_tags(vae: Any, tags: NDArray[np.uint8]) -> Any:
    """Encode pictures as latents, scaled to unit spread, (n, 16, height / 8, width / 8)."""
    import torch

    with torch.no_grad():
        parts = [vae.encode(to_tensor(part)).latent_dist.mean for part in np.array_split(tags, -(-len(tags) // 64))]
        return torch.cat(parts).mul(vae.config.scaling_factor)


def _set_scale(vae: Any, rng: np.random.Generator) -> None:
    vae.register_to_config(scaling_factor=1.0)
    tags = draw_tags(sample_texts(_SCALE_SAMPLE, rng, withheld=False), "train", rng)
    vae.register_to_config(scaling_factor=float(1 / encode_tags(vae, tags).std()))
    rescale_decoder(vae, encode_tags(vae, tags[:_RESCALE_SAMPLE]))
