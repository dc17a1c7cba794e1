"""A search of ours copied into an Optuna study, for whoever goes on with it in Optuna.

Called by ``hpsearch export --optuna``.
"""

from __future__ import annotations

from optuna import create_study
from optuna.exceptions import DuplicatedStudyError

from hpsearch.errors import HpsearchError
from hpsearch.integrations.optuna_live import LiveStorage
from hpsearch.integrations.optuna_storage import opened


def export_study(search: str | int, url: str, study: str | None, db: str | None) -> tuple[str, int]:
    """Write the ended trials of a search as a new study; its name, and how many they are.

    The study is called as the search unless ``study`` says otherwise; the trials are those that
    LiveStorage has, numbered anew. Raises HpsearchError for a database that cannot be
    (``optuna_storage``) and a study that is there already, StorageError for a search that is not.
    """
    live = LiveStorage(db)
    record = live.repository.find_search(search)
    trials = live.get_all_trials(record.id, deepcopy=False)
    ended = [trial for trial in trials if trial.state.is_finished()]
    name = study or record.name
    with opened(url, create=True) as storage:
        try:
            directions = live.get_study_directions(record.id)
            made = create_study(storage=storage, study_name=name, directions=directions)
        except DuplicatedStudyError as error:
            raise HpsearchError(
                f"the study must be a new one, but there is one called {name} already: give "
                "another name with --study"
            ) from error
        made.set_metric_names([record.spec.objective.metric])
        for key, value in live.get_study_user_attrs(record.id).items():
            made.set_user_attr(key, value)
        made.add_trials(ended)
    return name, len(ended)
