"""Compares quality-control policies on planted harm: scenarios x harms x seeds x policies.

python -m experiments.detect --config=configs/demo.py --workdir=runs/demo

Runs that are in detection.csv already are not repeated; an interrupted one resumes.
"""

from experiments import command


def main(config, workdir):
    from harmjax import detection
    from harmjax.report import detection as grid
    from harmjax.report import page

    def say(text):
        command.log(workdir, text)

    def finished(run, study):
        if config.report:
            say(f"  {page.write(run, study)}")

    command.record(config, workdir)
    rows = detection.detect(config, workdir, say=say, finished=finished)
    say(detection.summary(rows))
    if config.report:
        say(f"page: {grid.write(workdir)}")


if __name__ == "__main__":
    command.run(main)
