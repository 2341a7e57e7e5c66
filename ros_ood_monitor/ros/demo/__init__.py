"""The demonstration: the real node in a process of its own beside a played bag."""
