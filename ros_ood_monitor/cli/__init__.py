"""One small file a verb; each imports what it needs only when it runs."""
