"""Where a version's bytes come from, and proof that they are still the same."""
