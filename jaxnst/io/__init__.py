"""Reads and writes files: pictures, masks, arrays and network weights."""
