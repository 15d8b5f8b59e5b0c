"""The optimiser of the demo trainings: orthogonalised momentum for matrices, AdamW for the rest.

Muon (K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) reaches
with a quarter of the steps what AdamW needs here, which is what makes minutes of training enough.
"""

import math
from typing import Any, Final

_MOMENTUM: Final = 0.95
_WARM_UP_STEPS: Final = 50
_NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_ROUNDS: Final = 5
_ADAM_LIKE: Final = 0.2
"""Root mean square of an AdamW update of rate 1, to which matrix updates are scaled."""


class Optimiser:
    """Updates a network's parameters; rates warm up over 50 steps and fall along a cosine to zero.

    `matrix_rate` is for weights of linear and convolution layers, `other_rate` for embeddings,
    biases and norms.
    """

    def __init__(self, nets: Any, *, matrix_rate: float, other_rate: float, steps: int) -> None:
        import torch

        named = list(nets.named_parameters())
        groups: dict[tuple[int, int], list[Any]] = {}
        for name, weight in named:
            if weight.ndim > 1 and "embedding" not in name:
                groups.setdefault(tuple(weight.flatten(1).shape), []).append(weight)
        # Matrices of one shape go through the Newton-Schulz rounds together: a third of the time.
        self._groups = list(groups.values())
        known = {id(weight) for group in self._groups for weight in group}
        others = [weight for _, weight in named if id(weight) not in known]
        self._momenta = [torch.zeros(len(group), *group[0].flatten(1).shape) for group in self._groups]
        self._adam = torch.optim.AdamW(others, lr=other_rate, betas=(0.9, 0.95), weight_decay=0, fused=True)
        self._rates = (matrix_rate, other_rate)
        self._nets, self._steps, self._done = nets, steps, 0

    def descend(self, loss: Any) -> float:
        """Take one step down the loss; give its value."""
        import torch

        self._nets.zero_grad()
        loss.backward()
        share = min(1.0, (self._done + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * self._done / self._steps)) / 2
        matrix_rate, other_rate = (rate * share for rate in self._rates)
        self._adam.param_groups[0]["lr"] = other_rate
        self._adam.step()
        with torch.no_grad():
            for group, momentum in zip(self._groups, self._momenta, strict=True):
                gradients = torch.stack([weight.grad.flatten(1) for weight in group])
                momentum.lerp_(gradients, 1 - _MOMENTUM)
                updates = orthogonalise(gradients.lerp(momentum, _MOMENTUM))
                scale = _ADAM_LIKE * max(updates.shape[1:]) ** 0.5
                for weight, update in zip(group, updates, strict=True):
                    weight.add_(update.view_as(weight), alpha=-matrix_rate * scale)
        self._done += 1
        return float(loss.detach())


def orthogonalise(matrices: Any) -> Any:
    """Bring all singular values of matrices (n, rows, columns) near 1, keeping their singular vectors.

    Five rounds of the quintic Newton-Schulz iteration of Muon, which stops between 0.7 and 1.2.
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_NEWTON_SCHULZ_ROUNDS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide.mT if tall else wide
