"""One run: what it needs, the loop over its steps, what happens beside the loop, and its result."""
