"""Raw files to typed frames."""
