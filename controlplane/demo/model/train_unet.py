"""Training of the denoiser and the text encoder, which learn together from scratch."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.demo.model.build import build_scheduler, build_text_encoder, build_tokenizer, build_unet
from controlplane.demo.model.optimiser import Optimiser
from controlplane.demo.model.settings import Report, UnetSettings
from controlplane.demo.model.train_vae import encode_tags
from evaluation.price_tags.grammar import sample_texts, write_prompt
from evaluation.price_tags.render import draw_tags


@dataclass(frozen=True, slots=True)
class Denoiser:
    """A UNet and the text encoder it was trained with."""

    unet: Any
    text_encoder: Any


@dataclass(frozen=True, slots=True)
class TagBank:
    """Training tags: latents (n, 16, 4, 8) and token numbers of their prompts (n, 16)."""

    latents: Any
    tokens: Any


def encode_prompts(prompts: list[str]) -> Any:
    """Tokenize prompts as numbers, (n, 16), padded with the end token as the pipeline does."""
    tokenizer = build_tokenizer()
    encoded = tokenizer(
        prompts,
        padding="max_length",
        truncation=True,
        max_length=tokenizer.model_max_length,
        return_tensors="pt",
    )
    return encoded.input_ids


def draw_bank(vae: Any, n: int, rng: np.random.Generator) -> TagBank:
    """Draw n tags with train digits, none with a withheld string, encode them and write their prompts."""
    texts = sample_texts(n, rng, withheld=False)
    latents = encode_tags(vae, draw_tags(texts, "train", rng))
    return TagBank(latents, encode_prompts([write_prompt(text, rng) for text in texts]))


def train_unet(
    settings: UnetSettings, bank: TagBank, rng: np.random.Generator, report: Report
) -> tuple[Denoiser, Denoiser]:
    """Train on the bank; give the denoiser after `early_step` steps and after all of them.

    The loss is the squared error of the velocity (T. Salimans, J. Ho, "Progressive Distillation for
    Fast Sampling of Diffusion Models", ICLR 2022). Both results hold averaged weights (EMA). Torch's
    own generator must be seeded.
    """
    import torch

    nets = torch.nn.ModuleDict({"unet": build_unet(), "text_encoder": build_text_encoder()})
    average = torch.optim.swa_utils.AveragedModel(
        nets, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema)
    )
    optimiser = Optimiser(nets, matrix_rate=settings.matrix_rate, other_rate=settings.other_rate, steps=settings.steps)
    measure_loss = _VelocityLoss(nets, bank, settings, rng)
    early: Denoiser | None = None
    for step in range(settings.steps):
        loss = optimiser.descend(measure_loss())
        average.update_parameters(nets)
        if step + 1 == settings.early_step:
            early = _take(copy.deepcopy(average.module))
        report(step + 1, loss)
    final = _take(average.module)
    return early or final, final


class _VelocityLoss:
    """The training loss on one random batch of the bank, at random times of the noise schedule."""

    def __init__(self, nets: Any, bank: TagBank, settings: UnetSettings, rng: np.random.Generator) -> None:
        self._nets, self._bank, self._settings, self._rng = nets, bank, settings, rng
        self._scheduler = build_scheduler()
        self._no_prompt = encode_prompts([""])

    def __call__(self) -> Any:
        import torch

        chosen = torch.from_numpy(self._rng.integers(len(self._bank.latents), size=self._settings.batch))
        latents, tokens = self._bank.latents[chosen], self._bank.tokens[chosen]
        emptied = torch.from_numpy(self._rng.random(self._settings.batch) < self._settings.dropout)
        states = self._nets["text_encoder"](torch.where(emptied[:, None], self._no_prompt, tokens))
        times = torch.from_numpy(self._draw_times())
        noise = torch.randn_like(latents)
        noisy = self._scheduler.add_noise(latents, noise, times)
        wanted = self._scheduler.get_velocity(latents, noise, times)
        velocity = self._nets["unet"](noisy, times, states.last_hidden_state).sample
        return (velocity - wanted).square().mean()

    def _draw_times(self) -> NDArray[np.int64]:
        count = int(self._scheduler.config.num_train_timesteps)
        share = 1 - self._rng.random(self._settings.batch) ** self._settings.noise_bias
        return np.minimum(share * count, count - 1).astype(np.int64)


def _take(nets: Any) -> Denoiser:
    return Denoiser(nets["unet"].eval(), nets["text_encoder"].eval())
