"""Presets, losses, the one training loop, and the stages it runs."""
