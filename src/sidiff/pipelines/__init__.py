"""The stages as Kedro pipelines: thin nodes around the pure packages."""
