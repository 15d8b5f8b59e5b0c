"""Adapters that hand workers, evidence and MLflow to the evaluation's ports."""
