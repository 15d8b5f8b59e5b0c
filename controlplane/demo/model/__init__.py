"""The demo model: a stock Stable Diffusion pipeline, small enough to be trained in minutes on a CPU."""
