"""What frames that nobody looked at teach a detector."""
