"""Traffic: a load generator whose users don't wait for each other, nor for slow answers."""
