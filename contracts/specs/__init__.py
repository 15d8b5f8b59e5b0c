"""The documents people write: services with lanes and routes, objectives, rollout policies."""
