"""The command line: thin, quick to start; heavy libraries are imported by the commands that need them."""
