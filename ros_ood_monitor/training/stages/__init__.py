"""The stages of a training, in the order in which `trainer.train` goes through them."""
