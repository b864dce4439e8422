"""One NIfTI file as an image on the model's grid.

`nifti.load` is the way through: `scanfile` opens it, `headers` says whether it can be meant,
`voxels` makes numbers of its bytes, `orientation` places it, `resampling` puts it on the grid, and
`intensity` scales it.
"""
