"""Typed frames to sequences, samples and a catalogue."""
