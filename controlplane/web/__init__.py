"""The web pages: what a run leaves in its home, readable in a browser and live while it runs; read-only."""
