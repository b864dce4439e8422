"""Convolution, pooling and normalisation as functions, with a form per shape and processor."""
