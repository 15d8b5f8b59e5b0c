"""The settings of the demo model's training: all that, with the seed, decides the weights."""

from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[int, float], None]
"""Told after each step of a training: the number of steps done and the loss of the last one."""


def be_silent(step: int, loss: float) -> None:
    """Report nothing."""


@dataclass(frozen=True, slots=True)
class VaeSettings:
    """Autoencoder training: optimiser steps, tags in a batch, learning rates, weight of KL."""

    steps: int = 1500
    batch: int = 8
    matrix_rate: float = 2e-2
    other_rate: float = 5e-3
    kl_weight: float = 1e-6


@dataclass(frozen=True, slots=True)
class UnetSettings:
    """Denoiser training; the text encoder learns with it.

    `early_step` is where the checkpoint with too little training is taken, `dropout` the share of
    prompts emptied for classifier-free guidance, `ema` the decay of the averaged weights, and
    `noise_bias` the exponent p in t = 1000 (1 - u^p): above 1, noisy times are drawn more often.
    """

    steps: int = 2200
    early_step: int = 1100
    batch: int = 32
    matrix_rate: float = 5e-3
    other_rate: float = 2e-3
    dropout: float = 0.1
    ema: float = 0.995
    noise_bias: float = 1.7
    bank: int = 16_384
    """Tags drawn and encoded once, from which batches are taken."""


@dataclass(frozen=True, slots=True)
class DistilSettings:
    """Step distillation: the student learns the teacher's guided jump over a quarter of the way."""

    iterations: int = 300
    batch: int = 8
    """Trajectories; each gives as many examples as the student has steps."""

    matrix_rate: float = 3e-3
    other_rate: float = 5e-4
    ema: float = 0.99
    student_steps: int = 4
    teacher_steps: int = 2
    """Teacher steps within one student step."""

    guidance_scale: float = 2.0
    """The teacher's guidance, which the student absorbs."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """All stages; the defaults made the shipped weights."""

    vae: VaeSettings = VaeSettings()
    unet: UnetSettings = UnetSettings()
    distil: DistilSettings = DistilSettings()
