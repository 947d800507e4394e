"""Tables and rules of numerical methods that need no tensors, for both backends."""
