"""What exists, from any CA, and whose it is. Everything that ends is one row of `Tracked`, wherever it came from."""
