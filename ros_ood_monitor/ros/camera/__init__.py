"""A camera's way in: its subscription, its slot for the newest frame, what is counted on it."""
