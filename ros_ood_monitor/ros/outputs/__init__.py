"""What the node publishes and stores: scores, alerts, pictures, recordings, snapshots."""
