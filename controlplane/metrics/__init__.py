"""The control plane's own metrics for Prometheus."""
