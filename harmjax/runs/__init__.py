"""One run, from a config and a cohort to a delivered model, and what is asked of it afterwards.

`training.train` is the whole run; `preparation` reads and checks what it is about, `course` and
`programs` compile its cycles, `phases` loops over them and resumes, `checkpoints` and `logbook`
keep what became of it. `trajectories` are models trained beside it, for evidence. Whether a folder
is still of the same run, `recorded` says of the settings and `same_samples` of the people; of the
files `data/begun` does. Afterwards: `evaluation` and `prediction` with the model that was
`delivered`. `forecast` is what a run will cost, `audit.audit` a run on arrays in one call.

Resuming, in this order: the folder is locked and tidied (`workdirs.held`), settings are compared
(`recorded.compared`), files and labels (`preparation.prepare`, which asks `data/begun`), classifier
and people (`recorded.record`, `same_samples.check`); then each phase goes on after its last whole
checkpoint, and tables lose the rows of cycles that are done again (`phases.run_phase`).
"""
