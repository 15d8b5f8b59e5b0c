"""Jobs: long work in child processes, done once in the records whatever dies meanwhile."""
