"""Brings the decoder's inner numbers into the range of float16 without changing a picture.

A norm layer follows wherever the decoder's stream is read, so the stream may have any scale; after
training it reaches tens of millions, and float16 ends at 65504: pictures would be black. (The same
befell Stable Diffusion XL, whose autoencoder was mended by fine-tuning.)
"""

import math
from typing import Any


def rescale_decoder(vae: Any, latents: Any) -> None:
    """Scale convolutions by powers of two so that, on these latents, what they write is near 1.

    Rounding is untouched; only the norms' epsilon sees the change, which is below 1e-6 of a level.
    """
    written = _measure_spread(vae, latents)
    decoder = vae.decoder
    scale = _scale_first(decoder.conv_in, written[decoder.conv_in])
    for resnet in decoder.mid_block.resnets:
        scale = _scale_resnet(resnet, scale, written)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            scale = _scale_resnet(resnet, scale, written)
        for upsampler in block.upsamplers or ():
            new = _find_scale(written[upsampler.conv])
            _multiply(upsampler.conv, weight=new / scale, bias=new)
            scale = new


def _measure_spread(vae: Any, latents: Any) -> dict[Any, float]:
    import torch

    written: dict[Any, float] = {}

    def note(module: Any, _inputs: Any, output: Any) -> None:
        written[module] = float(output.square().mean().sqrt())

    handles = [module.register_forward_hook(note) for module in vae.decoder.modules() if hasattr(module, "conv1")]
    convolutions = [module for module in vae.decoder.modules() if isinstance(module, torch.nn.Conv2d)]
    handles += [module.register_forward_hook(note) for module in convolutions]
    with torch.no_grad():
        vae.decode(latents / vae.config.scaling_factor)
    for handle in handles:
        handle.remove()
    return written


def _scale_first(convolution: Any, spread: float) -> float:
    scale = _find_scale(spread)
    _multiply(convolution, weight=scale, bias=scale)
    return scale


def _scale_resnet(resnet: Any, scale: float, written: dict[Any, float]) -> float:
    """Scale one residual block whose input is `scale` times what it was; give the scale of its output."""
    _scale_first(resnet.conv1, written[resnet.conv1])
    new = scale
    if resnet.conv_shortcut is not None:
        new = _find_scale(written[resnet])
        _multiply(resnet.conv_shortcut, weight=new / scale, bias=new)
    _multiply(resnet.conv2, weight=new, bias=new)
    return new


def _find_scale(spread: float) -> float:
    return 2.0 ** -round(math.log2(spread))


def _multiply(convolution: Any, *, weight: float, bias: float) -> None:
    convolution.weight.data.mul_(weight)
    convolution.bias.data.mul_(bias)
