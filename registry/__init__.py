"""What versions exist and what is known of each: catalogue, provenance."""
