"""Side by side: two versions on the same prompts and seeds, until it is known which draws better."""
