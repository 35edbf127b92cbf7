"""One pure builder a child."""
