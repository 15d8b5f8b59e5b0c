"""The demo model's prompt set."""

from evaluation.price_tags.grammar import figure_prompts
from evaluation.prompts.prompt_set import PromptSet, make_prompt

SCORERS = ("text-accuracy", "tag-colours")


def demo_prompt_set(n: int) -> PromptSet:
    """Return the first ``n`` prompts on which the demo's figures are measured, with the scorers that suit them."""
    prompts = (make_prompt(text, prompt_id=f"tag-{k:04}") for k, text in enumerate(figure_prompts(n)))
    return PromptSet("price-tags", 1, tuple(prompts), SCORERS)
