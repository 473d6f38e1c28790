"""What the configurations of this bundle call."""
