"""Step distillation: a student that needs four steps and no guidance for what the teacher does in eight.

After T. Salimans, J. Ho, "Progressive Distillation for Fast Sampling of Diffusion Models" (ICLR
2022) and C. Meng et al., "On Distillation of Guided Diffusion Models" (CVPR 2023), with one change:
the student learns on the teacher's own trajectories, which are what it meets when it samples.
"""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from controlplane.demo.model.build import build_scheduler
from controlplane.demo.model.optimiser import Optimiser
from controlplane.demo.model.settings import DistilSettings, Report
from controlplane.demo.model.train_unet import Denoiser, TagBank, encode_prompts


@dataclass(frozen=True, slots=True)
class _Lesson:
    """States (n, 16, 4, 8) on a trajectory, their times, and the velocities the student should give."""

    states: Any
    times: Any
    velocities: Any


class GuidedTeacher:
    """Runs the teacher with classifier-free guidance and tells what one student step must predict."""

    def __init__(self, denoiser: Denoiser, settings: DistilSettings) -> None:
        self._unet = denoiser.unet
        self._encode = denoiser.text_encoder
        self._settings = settings
        self._alphas = build_scheduler().alphas_cumprod
        self._no_prompt = encode_prompts([""])

    def embed(self, tokens: Any) -> Any:
        """Give text states of prompts, (n, 16, 64)."""
        return self._encode(tokens).last_hidden_state

    def teach(self, tokens: Any) -> _Lesson:
        """Sample one trajectory for each prompt; give a lesson for every student step of each."""
        import torch

        settings = self._settings
        count = settings.student_steps * settings.teacher_steps
        span = len(self._alphas) // count
        grid = [len(self._alphas) - 1 - span * step for step in range(count)] + [-1]
        states = torch.cat([self.embed(self._no_prompt).expand(len(tokens), -1, -1), self.embed(tokens)])
        now = torch.randn(len(tokens), self._unet.config.in_channels, *self._unet.config.sample_size)
        lessons: list[tuple[Any, Any, Any]] = []
        for first in range(0, count, settings.teacher_steps):
            then = now
            for step in range(first, first + settings.teacher_steps):
                then = self._step(then, self._guide(then, grid[step], states), grid[step], grid[step + 1])
            times = torch.full((len(tokens),), grid[first])
            wanted = self._invert(now, then, grid[first], grid[first + settings.teacher_steps])
            lessons.append((now, times, wanted))
            now = then
        return _Lesson(*(torch.cat(parts) for parts in zip(*lessons, strict=True)))

    def _guide(self, now: Any, time: int, states: Any) -> Any:
        import torch

        free, guided = self._unet(torch.cat([now, now]), time, states).sample.chunk(2)
        return free + self._settings.guidance_scale * (guided - free)

    def _mix(self, time: int) -> tuple[float, float]:
        alpha = 1.0 if time < 0 else float(self._alphas[time])
        return alpha**0.5, (1 - alpha) ** 0.5

    def _step(self, now: Any, velocity: Any, time: int, then_time: int) -> Any:
        signal, noise = self._mix(time)
        then_signal, then_noise = self._mix(then_time)
        clean = signal * now - noise * velocity
        return then_signal * clean + then_noise * (signal * velocity + noise * now)

    def _invert(self, now: Any, then: Any, time: int, then_time: int) -> Any:
        """Find the velocity with which one DDIM step leads from `now` to `then`: `_step` solved for it."""
        signal, noise = self._mix(time)
        then_signal, then_noise = self._mix(then_time)
        known = (then_signal * signal + then_noise * noise) * now
        return (then - known) / (then_noise * signal - then_signal * noise)


def distil(teacher: Denoiser, bank: TagBank, settings: DistilSettings, rng: np.random.Generator, report: Report) -> Any:
    """Train a student UNet, which starts as the teacher's; the text encoder is the teacher's.

    Only the bank's prompts are used. Torch's own generator must be seeded.
    """
    import torch

    guide = GuidedTeacher(teacher, settings)
    student = copy.deepcopy(teacher.unet).requires_grad_(requires_grad=True).train()
    average = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema)
    )
    optimiser = Optimiser(
        student, matrix_rate=settings.matrix_rate, other_rate=settings.other_rate, steps=settings.iterations
    )
    for step in range(settings.iterations):
        tokens = bank.tokens[torch.from_numpy(rng.integers(len(bank.tokens), size=settings.batch))]
        with torch.no_grad():
            lesson = guide.teach(tokens)
            states = guide.embed(tokens).repeat(settings.student_steps, 1, 1)
        given = student(lesson.states, lesson.times, states).sample
        loss = optimiser.descend((given - lesson.velocities).square().mean())
        average.update_parameters(student)
        report(step + 1, loss)
    return average.module.eval()
