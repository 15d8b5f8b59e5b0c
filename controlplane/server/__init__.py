"""The control plane as one process: it decides, works on jobs, tells people, and serves pages and API."""
