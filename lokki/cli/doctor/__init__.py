"""What ``lokki doctor`` checks, a module for each subject."""
