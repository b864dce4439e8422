"""Compares quality-control policies on planted harm: scenarios x harms x seeds x policies.

python -m experiments.detect --config=configs/demo.py --workdir=runs/demo

Runs that are in detection.csv already are not repeated; an interrupted one resumes.
"""

from experiments import command


def main(config, workdir):
    from harmjax import detection
    from harmjax.report import detection as page

    command.record(config, workdir)
    rows = detection.detect(config, workdir, say=lambda text: command.log(workdir, text))
    command.log(workdir, detection.summary(rows))
    if config.report:
        command.log(workdir, f"page: {page.write(workdir)}")


if __name__ == "__main__":
    command.run(main)
