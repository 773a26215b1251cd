"""VGG19 weights in files: load, convert, download."""
