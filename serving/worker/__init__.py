"""A worker: one process that serves one version on one device."""
