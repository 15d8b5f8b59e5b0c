"""The guard: what serves is watched, harm is taken back, what is killed stays stopped, what is frozen stays."""
