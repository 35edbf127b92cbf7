"""What can be asked of the engine."""
