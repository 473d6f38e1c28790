"""A trained run as a stock MONAI bundle, and the inference that travels with it."""
