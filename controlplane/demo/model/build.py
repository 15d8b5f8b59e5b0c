"""The untrained parts of the demo pipeline: tokenizer, text encoder, VAE, UNet and scheduler.

All five are the stock classes of Stable Diffusion 1.x at a toy size, so that whatever works on the
real thing (loading, quantising, exporting, serving) can be tried on it. A 32x64 picture is a latent
of 16 channels, 4x8.
"""

import string
from typing import Any, Final

from controlplane.demo.model.quiet import load_diffusers, load_transformers
from evaluation.price_tags.grammar import VOCABULARY

MAX_TOKENS: Final = 16
"""Length of a prompt in tokens, begin and end included; the longest sentence of the grammar has 15."""

TEXT_WIDTH: Final = 64
LATENT_CHANNELS: Final = 16
PIXELS_PER_LATENT: Final = 8

_START: Final = "<|startoftext|>"
_END: Final = "<|endoftext|>"
_WORD_END: Final = "</w>"


def list_merges() -> list[tuple[str, str]]:
    """Write the byte-pair merges that make one token of each vocabulary word.

    They are listed by hand, since the trainer of `tokenizers` numbers tokens differently in every
    process. Words come in order; a word keeps the merges of those before it, and what is then left
    of it in pieces is joined from left to right. Later merges have a lower rank, so they cannot
    break an earlier word.
    """
    merges: list[tuple[str, str]] = []
    for word in VOCABULARY:
        pieces = _merge([*word[:-1], word[-1] + _WORD_END], merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    return merges


def _merge(pieces: list[str], merges: list[tuple[str, str]]) -> list[str]:
    for left, right in merges:
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == (left, right):
                joined[-1] = left + right
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def list_tokens() -> dict[str, int]:
    """List the tokenizer's vocabulary with its ids: words of the grammar first, then single characters and pieces."""
    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = [_START, _END, *(word + _WORD_END for word in VOCABULARY)]
    tokens += [*characters, *(character + _WORD_END for character in characters)]
    tokens += [left + right for left, right in list_merges()]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def build_tokenizer() -> Any:
    """Build a CLIPTokenizer in which every word of the grammar is one token and a number is its digits."""
    return load_transformers().CLIPTokenizer(vocab=list_tokens(), merges=list_merges(), model_max_length=MAX_TOKENS)


def build_text_encoder() -> Any:
    """Build an untrained CLIPTextModel: 64 wide, two layers, 0.1 M parameters."""
    transformers = load_transformers()
    tokens = list_tokens()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokens[_START],
        eos_token_id=tokens[_END],
        pad_token_id=tokens[_END],
    )
    encoder = transformers.CLIPTextModel(config)
    # At CLIP's own spread of 0.02 words and places would look alike for long.
    for name, weight in encoder.named_parameters():
        if "embedding" in name:
            weight.data.normal_(std=0.5)
    return encoder


def build_vae() -> Any:
    """Build an untrained AutoencoderKL: factor 8, 16 latent channels, 0.7 M parameters, no attention."""
    vae = load_diffusers().AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=2,
        sample_size=64,
        mid_block_add_attention=False,
    )
    # At a log-variance of 0 the noise of the posterior hides the picture from the decoder for long.
    vae.quant_conv.bias.data[LATENT_CHANNELS:] = -6.0
    return vae


def build_unet() -> Any:
    """Build an untrained UNet2DConditionModel: channels 32 and 64, cross-attention on both levels."""
    return load_diffusers().UNet2DConditionModel(
        sample_size=(4, 8),
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def build_scheduler() -> Any:
    """Build DDIM with v-prediction and zero terminal SNR, so that pure noise is where sampling starts.

    S. Lin et al., "Common Diffusion Noise Schedules and Sample Steps are Flawed", WACV 2024.
    """
    return load_diffusers().DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        steps_offset=1,
        set_alpha_to_one=True,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def assemble_pipeline(*, text_encoder: Any, vae: Any, unet: Any) -> Any:
    """Join a StableDiffusionPipeline of trained parts, without safety checker or image encoder."""
    return load_diffusers().StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=build_tokenizer(),
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
