"""The configuration: composed by Hydra, checked, explained, and turned into typed settings."""
