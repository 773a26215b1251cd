"""Measures jaxnst: speed, memory and quality. The library imports nothing from here, and no test times it."""
