"""What decides a training: its settings, their file, the names to choose from; torch-free."""
