"""Benchmarks: run by hand, one command each; see docs/performance.md."""
