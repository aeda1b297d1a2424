"""The rehearsal before the first fork."""

from beliefd.engine import jit
from beliefd_service.lifecycle import make_folders
from beliefd_service.settings import Settings
from beliefd_worker.rehearsal import rehearse


def test_it_does_everything_once_and_leaves_nothing(tmp_path):
    settings = Settings.from_environment({"BELIEFD_DATA": str(tmp_path)})
    make_folders(settings)
    before = sorted(tmp_path.rglob("*"))
    (settings.run / "rehearsal" / "populations").mkdir(parents=True)  # of one that was killed
    rehearse(settings)
    assert sorted(tmp_path.rglob("*")) == before
    assert max(jit.compiled_signatures().values()) == 2  # both dtypes
