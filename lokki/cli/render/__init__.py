"""What the commands draw and print."""
