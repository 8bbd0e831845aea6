"""Get data sets, prepare, check and split them."""
