"""One run, from a config and a cohort to a delivered model, and what is asked of it afterwards.

`training.train` is the whole run; `preparation` reads and checks what it is about, `course` and
`programs` compile its cycles, `phases` loops over them and resumes, `checkpoints` and `logbook`
keep what became of it. Whether a folder is still of the same run, `recorded` says of the settings
and `same_samples` of the people; of the files `data/begun` does. Afterwards: `evaluation` and
`prediction` with the model that was `delivered`. `forecast` is what a run will cost, `audit.audit`
a run on arrays in one call.
"""
