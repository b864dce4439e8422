"""Compares quality-control policies on planted harm: scenarios x harms x seeds x policies.

harmjax detect --config=demo --workdir=runs/demo

Writes detection.csv, a row per run, and harms.csv, a row per run and kind of harm. Finished runs
are not repeated; an interrupted one resumes.
"""

from . import command


def main(config, workdir):
    from harmjax.report import detection as grid
    from harmjax.report import page
    from harmjax.sweeps import detection

    def say(text):
        command.log(workdir, text)

    def finished(run, study):
        if config.report:
            say(f"  {page.write(run, study)}")

    command.record(config, workdir)
    rows, harms = detection.detect(config, workdir, say=say, finished=finished)
    say(detection.summary(rows, harms))
    if config.report:
        say(f"page: {grid.write(workdir)}")


if __name__ == "__main__":
    command.run(main)
