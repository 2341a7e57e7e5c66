"""The process around a node: its executor, signals and threads, its log, its exit code."""
