"""What may be registered and loaded: decided by reading, never by loading."""
