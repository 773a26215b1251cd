"""The settings of a run: the dataclass, its validation, presets, and the core values that settings name."""
