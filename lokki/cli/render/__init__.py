"""What the commands draw and tell."""
