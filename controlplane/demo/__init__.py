"""The demo: the main job, live, on a model that was made for it."""
