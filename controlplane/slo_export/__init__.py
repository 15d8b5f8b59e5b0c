"""Objectives as files for Prometheus and Grafana."""
