"""Text in pictures: what a prompt asks to be written, what a reader makes out, and how well the two agree."""
