"""Measurements; nothing in here is imported by the library or timed in a test."""
