"""The exact objective of a picture of any size, in the memory of one tile."""
