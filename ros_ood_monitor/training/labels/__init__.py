"""The user's labels: a classifier of them, its scores, and what Unleashing Mask makes of it."""
