"""What a person may ask of services and rollouts: checked, audited and written down, whatever it came in by."""
