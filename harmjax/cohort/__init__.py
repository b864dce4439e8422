"""Semi-synthetic multi-centre T1 cohorts, for method studies without patient data.

`dataset.write` puts a whole cohort on disk; `plan` says who is in it, `generator` makes the scans,
`subject` and `scanner` are the two pure functions behind every scan.

What it is not: no scan shows a patient, and no result on it says anything about a disease. Two
things to know before reading a number off it:

- Effect sizes are exaggerated. A realistic effect (1) cannot be learned from cohorts of this size;
  3 to 4 leave a model that is good but not perfect, where the harm of bad scans shows.
- 54 of the 83 centres hold a single class, as in the real cohort. A model can guess the class from
  the look of a scanner a little: that is the AUROC above .5 at effect 0. Within a centre there is
  nothing to learn at effect 0: the label then changes no voxel.

Test AUROC of ridge regression on the standardised brain voxels of the 83-centre cohort at 4 mm (407
test scans; 600 of the 1,410 training scans, or all; standard error about .025), by seed:

    effect   n=600, seed 0, 1   n=1410, seed 0, 1
    0        .56  .56           .57  .56
    1        .58  .59           .61  .59
    3        .73  .74           .85  .85
    4        .81  .83           .92  .92

With two diseases, each against all others, by kernel ridge regression on three axial slices (-12, 0
and 12 mm; 1,410 training scans, seed 0):

    effect   control   nigrostriatal   hippocampal
    3        .70       .84             .75
    10       .98       1.00            .99
"""
