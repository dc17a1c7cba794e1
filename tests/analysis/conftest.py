"""A search with two stages, for the tests of reading."""

from __future__ import annotations

import pytest
from stored_searches import PARAMS, Writer, a_report, a_stage, a_trial, begin

from hpsearch.storage.database import Database


@pytest.fixture
def writer(database: Database) -> Writer:
    """Two stages: 6 trials of 1 to 6 epochs, and 3 of which the first continues one of them."""
    writer = begin(database, num_trials=0)
    drawn = [
        a_trial(
            number,
            stage_id=writer.stage_id,
            branch=f"optimizer={optimizer}",
            params={**PARAMS, "learning_rate": 10.0**-number, "optimizer": optimizer},
        )
        for number, optimizer in enumerate(["sgd", "momentum", "sgd", "sgd", "momentum", "sgd"])
    ]
    first = [t.id for t in writer.repository.add_trials(writer.lease, drawn)]
    fine = a_stage(1, name="fine", epochs=9)
    stage, _ = writer.repository.open_stage(writer.lease, fine, [])
    begun = {"parent_id": first[2], "start_epoch": 3, "epochs": 3}
    later = [a_trial(6, stage_id=stage.id, **begun)]
    later += [a_trial(number, stage_id=stage.id) for number in (7, 8)]
    second = [t.id for t in writer.repository.add_trials(writer.lease, later)]
    for epoch in range(1, 7):
        values = {id: epoch + id / 100 for id in first if first.index(id) + 1 >= epoch}
        ends = {id: value for id, value in values.items() if first.index(id) + 1 == epoch}
        writer.repository.commit_report(writer.lease, a_report(epoch, values))
        writer.repository.commit_report(writer.lease, a_report(epoch, ends, state="complete"))
    writer.repository.commit_report(writer.lease, a_report(4, {second[0]: 0.5}))
    writer.repository.fail_trials(writer.lease, {second[1]: ("diverged", "x")})
    return writer
