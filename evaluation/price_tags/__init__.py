"""Price tags: a text-to-image task small enough to be graded exactly, made of real handwritten digits."""
