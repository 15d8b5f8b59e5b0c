"""The gateway: splits requests over versions, attempts them, counts exactly what came of it."""
