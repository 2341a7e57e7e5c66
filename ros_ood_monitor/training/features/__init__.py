"""From frames to features: computed by the exported backbone, kept on disk, read in chunks."""
