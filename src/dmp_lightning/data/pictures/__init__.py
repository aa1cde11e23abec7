"""One reader of pictures, for training and for references: what a viewer shows."""
