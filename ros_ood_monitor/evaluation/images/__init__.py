"""Judges bundles on folders of images: separability, masks, boxes, maps, a sheet of mistakes."""
