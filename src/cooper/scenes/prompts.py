"""Orders of base training that belong to no task."""

DESCRIBE = "Describe the picture."
RECONSTRUCT = "Draw the picture again."
