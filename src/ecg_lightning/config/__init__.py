"""The configuration: Hydra composes it; it is checked, explained, and turned into typed settings."""
