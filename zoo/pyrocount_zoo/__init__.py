"""Small fitted models of pyrocount, a folder each; ``pyrocount.load("zoo/NAME")`` loads them."""
