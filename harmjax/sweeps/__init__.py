"""Many runs: settings and policies compared in one table.

`hyper` says what to vary, `jobs` does each run once, `mapped` trains several in one program,
`sweep` chooses the best setting, and `detection` plants harm and counts who finds it.
"""
