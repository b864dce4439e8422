"""One run, from a config and a cohort to a delivered model, and what is asked of it afterwards.

`training.train` is the whole run; `preparation` reads and checks what it is about, `course` and
`programs` compile its cycles, `phases` loops over them, `checkpoints` and `logbook` keep what
became of it. `audit.audit` is a run on arrays in one call.
"""
