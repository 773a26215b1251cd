"""The compute core: pure functions of arrays, for callers who bring their own loop, optimiser or network.

Nothing in here reads a file, prints, or knows Pillow; it imports jax, flax, optax and numpy only.
"""
