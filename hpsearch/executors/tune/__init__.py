"""Trainables of the user's own under Ray Tune: an executor, each group of which is one trial."""

from hpsearch.executors.tune.executor import TuneExecutor as TuneExecutor
