"""The functions that people import: make a picture, many pictures, and numbers about them."""
