"""From a checkpoint to a Policy, whatever backend runs it."""
