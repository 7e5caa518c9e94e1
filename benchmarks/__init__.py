"""What the documents claim of speed and memory, measured."""
