"""The decision rules of other systems, written from their documents and sources, as baselines and for replay."""
