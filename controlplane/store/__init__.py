"""What the control plane writes down."""
