"""Human review: blind comparisons by people, how far to trust them, and what they say of two versions."""
