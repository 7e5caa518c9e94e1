"""The trained network as a folder that opens by itself."""
