"""The composition root: brings rollout, registry, evaluation and serving together, and shows it to people."""
