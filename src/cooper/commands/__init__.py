"""The commands behind `cooper`, a frozen dataclass each: fields are arguments, `run()` does it."""
