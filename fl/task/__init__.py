"""What is trained: the model, the loss, the data, the validation set, and the spec that freezes them."""
