"""Experiments: a declared grid of settings becomes jobs for `jaxnst.batch`, and their results a report.

From TOML to cells: `study`, `axes`. From cells to runs to jobs: `runs`, `jobs`. From jobs to files: `runner`,
`results`. From files to rows: `table`. From rows to pictures and a page: `sheet`, `plots`, `report`.
"""

from jaxnst.studies.runner import Studied, run_study
from jaxnst.studies.study import names, read_study

__all__ = ["Studied", "names", "read_study", "run_study"]
