"""The data plane: what serves, and what counts. It goes on serving when the control plane is away."""
