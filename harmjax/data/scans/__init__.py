"""One NIfTI file as an image on the model's grid: read, checked, oriented, resampled, scaled."""
