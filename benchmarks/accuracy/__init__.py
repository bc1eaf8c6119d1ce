"""The accuracy instrument: trains the rows of a grid, judges them densely, and writes one table and plot of them."""
